//! `kakera validator`: who validates, and joining, leaving and everything between.

mod bond;
mod checkpoint;
mod guard;
mod join;
mod owner;
mod registry;
mod request;
mod returned;
mod settings;
#[cfg(test)]
mod tests;

use crate::{
    args::{RequestArgs, ValidatorCommand},
    failure::Result,
    locate::Place,
};
use kakera_chain::units::ValidatorId;
use kakera_shard::Action;

/// Runs a validator command.
pub(crate) async fn run(command: ValidatorCommand, place: &Place) -> Result<()> {
    match command {
        ValidatorCommand::List => registry::list(place).await,
        ValidatorCommand::Status { validator } => registry::status(&validator, place).await,
        ValidatorCommand::Slashings => registry::slashings(place).await,
        ValidatorCommand::Checkpoint => checkpoint::run(place).await,
        ValidatorCommand::Bond(args) => bond::run(args, place).await,
        ValidatorCommand::Exit(args) => {
            let exit = |validator| (Action::Exit { validator }, request::Change::Leaves);
            ordered(args, exit, place).await
        }
        ValidatorCommand::TopUp { request, seats } => {
            let top_up = |validator| (Action::TopUp { validator, seats }, request::Change::Grows { seats });
            ordered(request, top_up, place).await
        }
        ValidatorCommand::Resume(args) => {
            let resume = |validator| (Action::Resume { validator }, request::Change::Returns);
            ordered(args, resume, place).await
        }
        ValidatorCommand::Join(args) => join::run(args, place).await,
        ValidatorCommand::Guard(command) => guard::run(command, place).await,
    }
}

/// An order of a validator's owner.
async fn ordered(
    args: RequestArgs,
    action: impl Fn(ValidatorId) -> (Action, request::Change),
    place: &Place,
) -> Result<()> {
    let client = place.client()?;
    let (_, validator) = registry::find(&client, &args.validator).await?;
    let key = owner::of(place, &validator, args.from.as_deref())?;
    let (action, change) = action(ValidatorId(validator.id));
    request::change(place, &client, &key, (action, change), validator).await
}
