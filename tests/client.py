"""Builds, signs, submits and tracks a transfer with nothing of this workspace's code.

It knows only what is documented: the transaction's bytes (shard/src/transaction.rs), addresses (SHA-256 of the key as
bech32m, BIP 350, prefix `kk`), the network id (SHA-256 of a tag and the genesis file) and the .proto files. Exits 0
when everything holds; any failed check is an exception and a non-zero exit.
"""

import argparse
import hashlib
import importlib
import os
import pathlib
import struct
import sys
import tempfile
import time

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_tools import protoc
from nacl.signing import SigningKey

DEADLINE_S = 90
FEE = 1400  # Gas of a transfer within a shard, at the first base fee of 1.
CROSS_FEE = 1800  # Gas of one to another shard, and the fixed price of its delivery.


def stubs(proto_dir):
    """Compiles the .proto files into a temporary directory and imports the results."""
    out = tempfile.mkdtemp(prefix="kakera-stubs-")
    files = sorted(str(path) for path in pathlib.Path(proto_dir, "kakera/v1").glob("*.proto"))
    code = protoc.main(["protoc", f"-I{proto_dir}", f"--python_out={out}", f"--grpc_python_out={out}", *files])
    assert code == 0, "protoc refuses the .proto files"
    sys.path.insert(0, out)
    names = ["transactions", "chains"]
    return [importlib.import_module(f"kakera.v1.{name}_pb2{kind}") for name in names for kind in ("", "_grpc")]


# Addresses: bech32m as BIP 350 describes it.

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BECH32M = 0x2BC830A3


def checksum(values):
    state = 1
    for value in values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            state ^= generator if top >> bit & 1 else 0
    return state


def bech32m(prefix, data):
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    tail = checksum(expanded + values + [0] * 6) ^ BECH32M
    values += [tail >> 5 * (5 - index) & 31 for index in range(6)]
    return prefix + "1" + "".join(CHARSET[value] for value in values)


class Account:
    """A key, its address and its shard."""

    def __init__(self, seed, shards):
        self.key = SigningKey(seed)
        self.public = bytes(self.key.verify_key)
        self.id = hashlib.sha256(self.public).digest()
        self.address = bech32m("kk", self.id)
        self.shard = int.from_bytes(self.id[:8], "big") * shards >> 64


def fresh_account(shard, shards):
    while True:
        account = Account(os.urandom(32), shards)
        if account.shard == shard:
            return account


def transfer(network_id, sender, nonce, to, amount, valid_until):
    """The id and the signed bytes of a transfer: 145 bytes by the documented layout, then the signature."""
    gas_limit, max_fee, tip = 10_000, 100, 0
    order = network_id + sender.public + struct.pack("<QQQQQ", nonce, valid_until, gas_limit, max_fee, tip)
    order += b"\x00" + to.id + struct.pack("<Q", amount)
    assert len(order) == 145
    identity = hashlib.sha256(b"kakera/tx       " + network_id + order).digest()
    return identity, order + sender.key.sign(identity).signature


def reason_of(error):
    """Code and google.rpc.ErrorInfo reason of a refusal."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    for detail in status_pb2.Status.FromString(details).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            assert info.domain == "kakera", info
            return error.code(), info.reason
    return error.code(), None


def refusal(call, *arguments, **named):
    try:
        answer = call(*arguments, **named)
    except grpc.RpcError as error:
        return reason_of(error)
    raise AssertionError(f"it should be refused, but answers {answer}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("proto", "genesis", "faucet", "shard-node", "beacon-node"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    transactions, transactions_grpc, chains, chains_grpc = stubs(options.proto)

    genesis = pathlib.Path(options.genesis).read_bytes()
    network_id = hashlib.sha256(b"kakera/genesis  " + genesis).digest()
    shards = next(int(line.split(b"=")[1]) for line in genesis.splitlines() if line.startswith(b"shards"))
    faucet = Account(bytes.fromhex(pathlib.Path(options.faucet).read_text().strip()), shards)

    with grpc.insecure_channel(options.shard_node) as shard_node, grpc.insecure_channel(options.beacon_node) as beacon:
        status = chains_grpc.ChainsStub(shard_node).GetStatus(chains.GetStatusRequest(), timeout=10)
        assert status.network_id == network_id, "the network id is the hash of the tag and the genesis file"
        assert (status.role, status.shard, faucet.shard) == ("shard", 0, 0), status

        def account(node, of):
            return chains_grpc.AccountsStub(node).GetAccount(chains.GetAccountRequest(address=of.address), timeout=10)

        def send(node, sender, nonce, to, amount):
            """Submits and tracks to the terminal step; the stages seen."""
            identity, signed = transfer(network_id, sender, nonce, to, amount, valid_until=1_000_000)
            service = transactions_grpc.TransactionsStub(node)
            answer = service.Submit(transactions.SubmitRequest(signed_transaction=signed), timeout=10)
            assert answer.transaction_id == identity, "the node computes the same id"
            request = transactions.TrackRequest(transaction_id=identity, shard=answer.shard)
            steps = list(service.Track(request, timeout=DEADLINE_S))
            assert steps and steps[-1].terminal and not any(step.terminal for step in steps[:-1]), steps
            return [transactions.Stage.Name(step.stage).removeprefix("STAGE_") for step in steps]

        alice, bob, carol = (fresh_account(shard, shards) for shard in (0, 0, 1))
        first = account(shard_node, faucet).pending_nonce
        stages = send(shard_node, faucet, first, alice, 1_000_000)
        print("from the faucet:", *stages)
        assert stages[-1] == "RECORDED", stages
        stages = send(shard_node, alice, 0, bob, 2_000)
        print("within the shard:", *stages)
        assert stages[-1] == "RECORDED", stages
        stages = send(beacon, alice, 1, carol, 3_000)
        print("across shards, through a beacon node:", *stages)
        assert stages[-1] == "DELIVERED", stages

        expected = ((alice, 1_000_000 - 5_000 - FEE - CROSS_FEE, 2), (bob, 2_000, 0), (carol, 3_000, 0))
        deadline = time.monotonic() + DEADLINE_S
        for node in (shard_node, beacon):
            for owner, balance, nonce in expected:
                # Nodes that were not asked before may be a block behind.
                while (found := account(node, owner)) and (found.balance, found.nonce) != (balance, nonce):
                    assert time.monotonic() < deadline, f"{owner.address}: {found}, not {balance}"
                    time.sleep(0.1)
                assert (found.address, found.shard) == (owner.address, owner.shard), found
        print("balances and nonces are right, addresses too:", alice.address)

        refusals(transactions, transactions_grpc, shard_node, network_id, alice, bob)
        assert account(shard_node, alice).nonce == 2, "a refused transaction changed the account"
        health_and_reflection(shard_node)
        health_and_reflection(beacon)
    print("all held")


def refusals(transactions, transactions_grpc, node, network_id, alice, bob):
    submit = transactions_grpc.TransactionsStub(node).Submit
    _, signed = transfer(network_id, alice, 2, bob, 1, valid_until=1_000_000)
    _, used = transfer(network_id, alice, 0, bob, 1, valid_until=1_000_000)
    _, elsewhere = transfer(bytes(32), alice, 2, bob, 1, valid_until=1_000_000)
    _, expired = transfer(network_id, alice, 2, bob, 1, valid_until=0)
    _, overdraft = transfer(network_id, alice, 2, bob, 10**15, valid_until=1_000_000)
    bad, not_now = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
    for what, code, reason in (
        (signed[:-1], bad, "MALFORMED_TRANSACTION"),
        (signed[:-1] + bytes([signed[-1] ^ 0x20]), bad, "BAD_SIGNATURE"),
        (elsewhere, bad, "WRONG_NETWORK"),
        (used, not_now, "NONCE_USED"),
        (overdraft, not_now, "OVERDRAFT"),
        (expired, not_now, "EXPIRED"),
    ):
        found = refusal(submit, transactions.SubmitRequest(signed_transaction=what), timeout=10)
        assert found == (code, reason), f"{found}, not {reason}"
        print("refused:", reason)
    truncated = transactions.SubmitRequest(signed_transaction=signed).SerializeToString()[:-9]
    raw = node.unary_unary("/kakera.v1.Transactions/Submit")
    code, _ = refusal(raw, truncated, timeout=10)
    assert code == bad, f"a truncated message is {code}"
    print("refused: a truncated message")


def health_and_reflection(node):
    health = health_pb2_grpc.HealthStub(node)
    for service in ("", "kakera.v1.Transactions"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, (service, answer)
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(reflection_pb2_grpc.ServerReflectionStub(node).ServerReflectionInfo(iter([listing]), timeout=10))
    names = {service.name for service in answer.list_services_response.service}
    assert {"kakera.v1.Transactions", "kakera.v1.Accounts", "kakera.v1.Chains", "grpc.health.v1.Health"} <= names, names
    print("healthy, and describes itself:", *sorted(names))


if __name__ == "__main__":
    main()
