//! Differences between the crate's replay and the reference, and the smallest picture that shows one.

use crate::oracle::reference::{Closures, Picture};
use kakera_cbc::lab::{Case, Name, ViewResult, replay};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The picture as a line of a file of cases.
pub(crate) fn line(picture: &Picture) -> Value {
    let messages: Vec<Value> = picture
        .messages
        .iter()
        .map(|said| {
            let cites: BTreeMap<String, &String> = said.cites.iter().map(|(of, id)| (of.to_string(), id)).collect();
            let parent = said.parent.as_deref().unwrap_or("G");
            json!({"id": said.id, "sender": said.sender, "parent": parent, "justification": cites})
        })
        .collect();
    let validators: Vec<Value> =
        picture.validators.iter().map(|(name, weight)| json!({"name": name, "weight": weight})).collect();
    let views: Vec<Value> = picture
        .views
        .iter()
        .map(|look| json!({"name": look.name, "delivery_order": look.delivered, "candidates": look.candidates}))
        .collect();
    json!({"id": picture.id, "validators": validators, "messages": messages, "views": views})
}

/// The picture of a line.
pub(crate) fn picture(line: &Value) -> Picture {
    use crate::oracle::reference::{Look, Said};
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let said = |message: &Value| Said {
        id: text(&message["id"]),
        sender: message["sender"].as_u64().expect("a number"),
        parent: Some(text(&message["parent"])).filter(|parent| parent != "G"),
        cites: message["justification"]
            .as_object()
            .expect("a map")
            .iter()
            .map(|(of, id)| (of.parse().expect("a number"), text(id)))
            .collect(),
    };
    let look = |view: &Value| Look {
        name: text(&view["name"]),
        delivered: list(&view["delivery_order"]).iter().map(text).collect(),
        candidates: list(&view["candidates"]).iter().map(text).collect(),
    };
    let number = |value: &Value| value.as_u64().expect("a number");
    Picture {
        id: text(&line["id"]),
        validators: list(&line["validators"]).iter().map(|v| (number(&v["name"]), number(&v["weight"]))).collect(),
        messages: list(&line["messages"]).iter().map(said).collect(),
        views: list(&line["views"]).iter().map(look).collect(),
    }
}

/// The first difference between the crate and the reference, if any.
pub(crate) fn difference(picture: &Picture) -> Option<String> {
    let case: Case = serde_json::from_value(line(picture)).expect("the lab's format");
    let found = match replay(&case) {
        Ok(found) => found,
        Err(error) => return Some(format!("refused: {error}")),
    };
    let closures = Closures::new(picture);
    let unjustified = closures.unjustified();
    if !found.unjustified.is_sorted() || found.unjustified.iter().cloned().collect::<BTreeSet<_>>() != unjustified {
        return Some(format!("unjustified: {:?}, by definition {unjustified:?}", found.unjustified));
    }
    if found.views.len() != picture.views.len() {
        return Some("another number of views".to_owned());
    }
    picture.views.iter().zip(&found.views).find_map(|(look, found)| of_view(&closures, look, found))
}

fn of_view(closures: &Closures<'_>, look: &crate::oracle::reference::Look, found: &ViewResult) -> Option<String> {
    let wanted = closures.look(look);
    let differs = |what: &str, found: String, wanted: String| {
        (found != wanted).then(|| format!("view {}: {what} is {found}, by definition {wanted}", look.name))
    };
    let equivocators: Vec<Name> = wanted.equivocators.iter().map(|name| Name::Number(*name)).collect();
    let latest: BTreeMap<String, String> =
        wanted.honest_latest.iter().map(|(name, id)| (name.to_string(), id.clone())).collect();
    differs("name", found.name.clone(), look.name.clone())
        .or_else(|| differs("equivocators", format!("{:?}", found.equivocators), format!("{equivocators:?}")))
        .or_else(|| differs("fault_weight", found.fault_weight.to_string(), wanted.fault_weight.to_string()))
        .or_else(|| differs("honest_latest", format!("{:?}", found.honest_latest), format!("{latest:?}")))
        .or_else(|| differs("head", found.head.clone(), wanted.head.clone()))
        .or_else(|| {
            let found: BTreeMap<_, _> = found
                .candidates
                .iter()
                .map(|(id, of)| {
                    let summit: BTreeMap<_, _> =
                        of.summit.iter().map(|(k, best)| (*k, (u128::from(best.q), best.ft))).collect();
                    (id.clone(), (of.clique_weight.map(u128::from), summit))
                })
                .collect();
            let wanted: BTreeMap<_, _> =
                wanted.candidates.into_iter().map(|(id, of)| (id, (Some(of.clique), of.summit))).collect();
            let keys: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
            keys.into_iter().find_map(|id| {
                differs(&format!("candidate {id}"), format!("{:?}", found.get(id)), format!("{:?}", wanted.get(id)))
            })
        })
}

/// The smallest part of a picture that still shows a difference.
pub(crate) fn smallest(mut picture: Picture) -> Picture {
    loop {
        let parts = smaller(&picture);
        match parts.into_iter().find(|part| difference(part).is_some()) {
            Some(part) => picture = part,
            None => return picture,
        }
    }
}

/// Everything with one thing less.
fn smaller(picture: &Picture) -> Vec<Picture> {
    let mut parts = Vec::new();
    let mut part = |change: &dyn Fn(&mut Picture)| {
        let mut part = picture.clone();
        change(&mut part);
        parts.push(part);
    };
    for view in 0..picture.views.len() {
        part(&|p| drop(p.views.remove(view)));
        for at in 0..picture.views[view].candidates.len() {
            part(&|p| drop(p.views[view].candidates.remove(at)));
        }
    }
    for said in &picture.messages {
        part(&|p| without(p, &said.id));
    }
    for (at, (name, weight)) in picture.validators.iter().enumerate() {
        if picture.messages.iter().all(|said| said.sender != *name) {
            part(&|p| p.validators.retain(|(other, _)| other != name));
        }
        if *weight > 1 {
            part(&|p| p.validators[at].1 = 1);
        }
    }
    for (at, said) in picture.messages.iter().enumerate() {
        for of in said.cites.keys() {
            part(&|p| drop(p.messages[at].cites.remove(of)));
        }
    }
    for view in 0..picture.views.len() {
        for at in 0..picture.views[view].delivered.len() {
            part(&|p| drop(p.views[view].delivered.remove(at)));
        }
    }
    parts.retain(|part| part.validators.iter().any(|(_, weight)| *weight > 0));
    parts
}

/// Removes a message; its children become its parent's.
fn without(picture: &mut Picture, id: &str) {
    let Some(at) = picture.messages.iter().position(|said| said.id == id) else { return };
    let gone = picture.messages.remove(at);
    for said in &mut picture.messages {
        said.cites.retain(|_, cited| cited != id);
        if said.parent.as_deref() == Some(id) {
            said.parent.clone_from(&gone.parent);
        }
    }
    for view in &mut picture.views {
        view.delivered.retain(|other| other != id);
        view.candidates.retain(|other| other != id);
    }
}
