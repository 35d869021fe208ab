#!/usr/bin/env python3
"""Tests moot-carrier.conf (beside this file, or in config/nats) against real NATS servers.

    python3 -m venv v && v/bin/pip install nats-py bcrypt
    v/bin/python check_permissions.py /usr/sbin/nats-server [another nats-server ...]

Starts each server on a free port of 127.0.0.1 with a temporary store, certificates made by the commands of
docs/link.md and new passwords. Prints one line a case; exit code 1 if a case fails. Needs openssl. Takes about 10 s a
server.
"""

import argparse
import asyncio
import json
import logging
import pathlib
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import time

import bcrypt
import nats

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = next(p for p in (HERE / "moot-carrier.conf", HERE / "config/nats/moot-carrier.conf") if p.exists())
HOSTS = ["web1", "db1", "lap2"]
STREAM = {
    "name": "MOOT",
    "subjects": ["moot.1.r.>", "moot.1.n.*", "moot.1.a.>"],
    "storage": "file",
    "retention": "limits",
    "discard": "old",
    "num_replicas": 1,
    "max_age": 7 * 86400 * 10**9,
    "max_bytes": 1 << 30,
}
DEV = "mrsxm"  # base32 of "dev"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"

failed = 0


def check(what, good, detail=""):
    global failed
    if not good:
        failed += 1
    print(f"{'ok  ' if good else 'FAIL'} {what}" + (f" ({detail})" if detail and not good else ""), flush=True)


# ---- a server with the shipped configuration ---------------------------------------------------------------------


def certificates(d):
    """Runs the openssl commands of docs/link.md, and makes a second authority that signed nothing."""
    page = f"""
    umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 3650 -subj "/CN=moot carrier CA" \
      -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -subj "/CN=localhost" -keyout server.key -out server.csr
    printf 'subjectAltName=DNS:localhost\\nextendedKeyUsage=serverAuth\\nkeyUsage=critical,digitalSignature\\nbasicConstraints=critical,CA:FALSE\\n' > server.ext
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile server.ext -out server.pem
    openssl verify -CAfile ca.pem server.pem
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 3650 -subj "/CN=another CA" -keyout other.key -out other.pem
    """
    subprocess.run(["sh", "-ec", page], cwd=d, check=True, capture_output=True)


class Server:
    def __init__(self, binary, directory):
        self.d = pathlib.Path(directory)
        certificates(self.d)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.passwords = {u: secrets.token_urlsafe(24) for u in ["admin", *HOSTS]}
        text = CONFIG.read_text()
        text = text.replace('"0.0.0.0:4222"', f'"127.0.0.1:{self.port}"').replace("/etc/nats/", f"{self.d}/")
        text = text.replace('"/var/lib/nats"', f'"{self.d}/store"')
        for user, password in self.passwords.items():
            if user == "lap2":
                continue  # keeps the value of the shipped file
            # Also proves that hashes of mkpasswd ($2b$) and htpasswd ($2y$) work, beside $2a$.
            kind = {"web1": b"$2b$", "db1": b"$2y$"}.get(user, b"$2a$")
            hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(8, b"2b"))
            text = text.replace(f"$2a$08$REPLACE.{user}", (kind + hashed[4:]).decode())
        self.conf = self.d / "nats.conf"
        self.conf.write_text(text)
        self.binary = binary
        self.log = open(self.d / "log", "w")
        self.process = None

    def start(self):
        test = subprocess.run([self.binary, "-t", "-c", self.conf], capture_output=True, text=True)
        check("the configuration is valid", test.returncode == 0, test.stderr)
        self.process = subprocess.Popen([self.binary, "-c", self.conf], stdout=self.log, stderr=self.log)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"no server: {(self.d / 'log').read_text()}")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)

    def context(self, ca="ca.pem"):
        return ssl.create_default_context(cafile=str(self.d / ca))


class Client:
    """A connection of one user, with the errors that the server sent."""

    def __init__(self, server, user):
        self.server, self.user, self.errors, self.nc = server, user, [], None

    async def open(self, password=None, ca="ca.pem", tls=True, inbox=None):
        async def error(e):
            self.errors.append(str(e))

        self.nc = await nats.connect(
            f"{'tls' if tls else 'nats'}://localhost:{self.server.port}",
            user=self.user,
            password=password or self.server.passwords[self.user],
            tls=self.server.context(ca) if tls else None,
            inbox_prefix=(inbox or f"_INBOX_{self.user}").encode(),
            error_cb=error,
            allow_reconnect=False,
            connect_timeout=3,
            max_reconnect_attempts=0,
        )
        return self

    async def call(self, subject, body=b"", headers=None, timeout=2.0):
        """Returns the reply as an object, or the exception."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            reply = await self.nc.request(subject, data, headers=headers, timeout=timeout)
        except Exception as e:  # noqa: BLE001
            return {"exception": type(e).__name__}
        return json.loads(reply.data) if reply.data[:1] == b"{" else {"raw": reply.data}

    async def watch(self, subject, callback):
        """Subscribes, and returns once the server has the subscription."""
        await self.nc.subscribe(subject, cb=callback)
        # nats-py sends the PING of `flush` before what is queued: only the second one comes after the subscription.
        await self.nc.flush()
        await asyncio.sleep(0.05)
        await self.nc.flush()

    async def denied(self, subject, body=b"{}", reply=None):
        """Returns true if the server denies the publication."""
        self.errors.clear()
        await self.nc.publish(subject, body, reply=reply or "")
        await self.nc.flush()
        for _ in range(20):
            if any("permissions violation for publish" in e.lower() for e in self.errors):
                return True
            await asyncio.sleep(0.02)
        return False

    async def subscription_denied(self, subject):
        self.errors.clear()
        got = []

        async def take(m):
            got.append(m)

        await self.watch(subject, take)
        return any("permissions violation for subscription" in e.lower() for e in self.errors)


async def refused(client, **how):
    try:
        await client.open(**how)
    except Exception:  # noqa: BLE001
        return True
    await client.nc.close()
    return False


# ---- the cases ---------------------------------------------------------------------------------------------------


async def publish(client, subject, text, expected, last):
    headers = {EXPECTED: str(expected), "Moot-Last": str(last), "Moot-Generation": "1764000000000000"}
    return await client.call(subject, text, headers)


async def subjects(admin):
    info = await admin.call("$JS.API.STREAM.INFO.MOOT", {"subjects_filter": ">"})
    return info["state"].get("subjects") or {}


async def create_consumer(client, name, filter_subject="", body_name=None, **config):
    body = {
        "stream_name": "MOOT",
        "config": {
            "name": body_name or name,
            "deliver_policy": "all",
            "ack_policy": "none",
            "filter_subject": filter_subject,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 30 * 10**9,
            **config,
        },
    }
    tail = f".{filter_subject}" if filter_subject else ""
    return await client.call(f"$JS.API.CONSUMER.CREATE.MOOT.{name}{tail}", body)


async def pull(client, name, batch, expires=1.0):
    """Pulls with a new inbox for the one request: the server keeps something for each request until then."""
    inbox, got, done = client.nc.new_inbox(), [], asyncio.Event()

    async def take(m):
        got.append(m)
        if len(got) >= batch or (m.headers and "Status" in m.headers and m.headers["Status"] != "100"):
            done.set()

    subscription = await client.nc.subscribe(inbox, cb=take)
    request = {"batch": batch, "expires": int(expires * 1e9)}
    await client.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.MOOT.{name}", json.dumps(request).encode(), reply=inbox)
    try:
        await asyncio.wait_for(done.wait(), expires + 1)
    except asyncio.TimeoutError:
        pass
    await subscription.unsubscribe()
    return [m for m in got if not (m.headers and "Status" in m.headers)]


def random_name(host):
    return f"{host}-{secrets.token_hex(8)}"


async def access(server):
    check("login works with TLS and the right password", not await refused(Client(server, "web1")))
    check("another user's password is refused", await refused(Client(server, "web1"), password=server.passwords["db1"]))
    check("the shipped password hash admits no login", await refused(Client(server, "lap2")))
    check(
        "the shipped hash itself is not a password",
        await refused(Client(server, "lap2"), password="$2a$08$REPLACE.lap2"),
    )
    check("a client without a user is refused", await refused(Client(server, ""), password=" "))
    check("a client with another CA rejects the server", await refused(Client(server, "web1"), ca="other.pem"))
    with socket.create_connection(("127.0.0.1", server.port), 2) as s:
        s.settimeout(2)
        info = s.recv(4096)
        check("the server requires TLS", b'"tls_required":true' in info)
        word = server.passwords["web1"]
        s.sendall(f'CONNECT {{"user":"web1","pass":"{word}","verbose":true}}\r\nPING\r\n'.encode())
        try:
            answer = s.recv(4096)
        except OSError:
            answer = b""
        check("a client without TLS gets no service", b"PONG" not in answer and b"+OK" not in answer, repr(answer))


async def needed(admin, web1, db1):
    """Each host can do what a link needs."""
    missing = await web1.call("$JS.API.STREAM.INFO.MOOT")
    check("a missing stream is reported as such", missing.get("error", {}).get("err_code") == 10059, str(missing))
    started = time.monotonic()
    lost = await web1.call(f"moot.1.r.{DEV}.web1", b"{}", timeout=1.0)
    took = time.monotonic() - started
    check("a message without a stream is not acknowledged", "exception" in lost, str(lost))
    print(f"     ... {lost.get('exception')} after {took * 1000:.0f} ms")

    made = await admin.call("$JS.API.STREAM.CREATE.MOOT", STREAM)
    check("admin creates the stream", "error" not in made, str(made.get("error")))
    for client in (web1, db1):
        h = client.user
        info = await client.call("$JS.API.STREAM.INFO.MOOT")
        same = all(info.get("config", {}).get(k) == v for k, v in STREAM.items())
        check(f"{h} reads the configuration of the stream, and it is as created", same, str(info))

        rooms = f"moot.1.r.{DEV}.{h}"
        first = await publish(client, rooms, b'{"v":1}', 0, 10)
        check(f"{h} publishes the first batch, expecting 0", "seq" in first and "error" not in first, str(first))
        again = await publish(client, rooms, b'{"v":1}', 0, 10)
        check(f"{h}: a repeat is refused (10071)", again.get("error", {}).get("err_code") == 10071, str(again))
        second = await publish(client, rooms, b'{"v":1,"n":2}', first["seq"], 20)
        check(f"{h} publishes the second batch", "seq" in second and "error" not in second, str(second))
        for subject in (f"moot.1.n.{h}", f"moot.1.a.{'db1' if h == 'web1' else 'web1'}.7.{h}", f"moot.1.a.{h}.7.{h}"):
            ack = await publish(client, subject, b'{"v":1}', 0, 1)
            check(f"{h} publishes on {subject}", "seq" in ack and "error" not in ack, str(ack))

        got = await client.call("$JS.API.STREAM.MSG.GET.MOOT", {"last_by_subj": rooms})
        ok = got.get("message", {}).get("seq") == second["seq"] and "hdrs" in got["message"]
        check(f"{h} gets its last message with headers (the export cursor)", ok, str(got))
        got = await client.call("$JS.API.STREAM.MSG.GET.MOOT", {"last_by_subj": f"moot.1.r.aaaa.{h}"})
        check(f"{h}: no last message is 10037", got.get("error", {}).get("err_code") == 10037, str(got))

    for client in (web1, db1):
        h = client.user
        before = await client.call("$JS.API.STREAM.INFO.MOOT")
        for filter_subject, expect in (("", before["state"]["messages"]), ("moot.1.r.>", 4), (f"moot.1.r.{DEV}.db1", 2)):
            name = random_name(h)
            made = await create_consumer(client, name, filter_subject)
            check(f"{h} creates a consumer for {filter_subject or 'all'}", made.get("name") == name, str(made))
            got = await pull(client, name, expect)
            seqs = [int(m.reply.split(".")[5]) for m in got]
            ok = len(got) == expect and seqs == sorted(seqs) and all(m.subject.startswith("moot.1.") for m in got)
            check(f"{h} pulls {expect} messages in order, each with its own subject", ok, str([m.subject for m in got]))
        name = random_name(h)
        start = before["state"]["last_seq"] + 1
        await create_consumer(client, name, "", deliver_policy="by_start_sequence", opt_start_seq=start)
        waiting = asyncio.create_task(pull(client, name, 1, 3))
        await asyncio.sleep(0.2)
        other = db1 if client is web1 else web1
        mine = f"moot.1.r.{DEV}.{other.user}"
        last = await other.call("$JS.API.STREAM.MSG.GET.MOOT", {"last_by_subj": mine})
        at = time.monotonic()
        await publish(other, mine, b'{"v":1,"live":1}', last["message"]["seq"], 30)
        got = await waiting
        check(f"{h} receives a new message of {other.user}", [m.subject for m in got] == [mine])
        check(f"{h}: it comes at once", time.monotonic() - at < 1)

    seen = {"web1": [], "db1": []}
    for client in (web1, db1):

        async def take(m, to=seen[client.user]):
            to.append((m.subject, m.data))

        await client.watch("moot.1.p.*", take)
    await web1.nc.publish("moot.1.p.web1", b'{"v":1}')
    await db1.nc.publish("moot.1.p.db1", b'{"v":1}')
    for _ in range(60):
        if all(len(s) >= 2 for s in seen.values()):
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.1)
    want = [("moot.1.p.db1", b'{"v":1}'), ("moot.1.p.web1", b'{"v":1}')]
    check("each host sees the presence of each host once", all(sorted(s) == want for s in seen.values()), str(seen))
    kept = await subjects(admin)
    check("presence is not stored", not any(s.startswith("moot.1.p") for s in kept), str(kept))


async def forbidden(admin, web1, db1):
    """A host can do nothing else."""
    before = await subjects(admin)
    for subject in (
        f"moot.1.r.{DEV}.db1",
        f"moot.1.r.{DEV}.web1.x",
        "moot.1.r.web1",
        "moot.1.n.db1",
        "moot.1.a.web1.1.db1",
        "moot.1.a.db1.1.db1",
        "moot.1.p.db1",
        "moot.2.r.x.web1",
        "_INBOX_db1.x.y",
        "_INBOX_web1.x.y",
        "_R_.x",
    ):
        check(f"web1 can't publish on {subject}", await web1.denied(subject))
    api = "$JS.API"
    for what in (
        "INFO",
        "STREAM.CREATE.MOOT",
        "STREAM.CREATE.OTHER",
        "STREAM.UPDATE.MOOT",
        "STREAM.DELETE.MOOT",
        "STREAM.PURGE.MOOT",
        "STREAM.MSG.DELETE.MOOT",
        "STREAM.SNAPSHOT.MOOT",
        "STREAM.RESTORE.MOOT",
        "STREAM.NAMES",
        "STREAM.LIST",
        "STREAM.INFO.OTHER",
        "STREAM.PEER.REMOVE.MOOT",
        "STREAM.LEADER.STEPDOWN.MOOT",
        "META.LEADER.STEPDOWN",
        "DIRECT.GET.MOOT",
        f"DIRECT.GET.MOOT.moot.1.r.{DEV}.web1",
        "CONSUMER.CREATE.MOOT",
        "CONSUMER.CREATE.OTHER.x",
        "CONSUMER.DURABLE.CREATE.MOOT.x",
        "CONSUMER.NAMES.MOOT",
        "CONSUMER.LIST.MOOT",
        "CONSUMER.INFO.MOOT.x",
        "CONSUMER.DELETE.OTHER.x",
        "CONSUMER.PAUSE.MOOT.x",
        "ACCOUNT.PURGE.HOSTS",
    ):
        check(f"web1 can't call {api}.{what}", await web1.denied(f"{api}.{what}"))
    for subject in ("$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$JS.ACK.MOOT.x.1.1.1.1.1", "$JS.FC.MOOT.x.y"):
        check(f"web1 can't publish on {subject}", await web1.denied(subject))
    for subject in (
        "_INBOX_db1.>",
        "_INBOX.>",
        "*.>",
        ">",
        "moot.1.r.>",
        "moot.1.n.*",
        "moot.1.>",
        "$JS.>",
        "$JS.EVENT.ADVISORY.>",
        "$SYS.>",
        "_R_.>",
    ):
        check(f"web1 can't subscribe to {subject}", await web1.subscription_denied(subject))
    for headers in ({"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}, {EXPECTED: "1"}, {"Nats-Expected-Stream": "OTHER"}):
        ack = await web1.call("moot.1.r.aaab.web1", b"{}", headers)
        check(f"a message with {headers} is refused", "error" in ack, str(ack))
    check("nothing of that was stored or removed", await subjects(admin) == before)
    config = (await admin.call("$JS.API.STREAM.INFO.MOOT"))["config"]
    check("the configuration of the stream is unchanged", all(config[k] == v for k, v in STREAM.items()))


async def lies(admin, web1, db1):
    """Ways around permissions: replies and deliveries of the server itself."""
    # Messages of web1 that would be requests to purge, delete and update the stream.
    poison = "moot.1.r.aaaa.web1"
    for body in (b"", b"{}", json.dumps({**STREAM, "max_bytes": 1 << 16}).encode(), b'{"v":1,"host":"db1"}'):
        await web1.call(poison, body)
    name = random_name("web1")
    await create_consumer(web1, name, poison)
    secret = random_name("db1")
    await create_consumer(db1, secret)
    presence, inbox = [], []

    async def see(m):
        presence.append(m)

    async def steal(m):
        inbox.append(m)

    await db1.watch("moot.1.p.*", see)
    await db1.watch("_INBOX_db1.known", steal)
    before = await subjects(admin)
    targets = (
        f"moot.1.r.{DEV}.db1",
        "moot.1.n.db1",
        "moot.1.a.web1.7.db1",
        "moot.1.p.db1",
        "_INBOX_db1.known",
        "$JS.API.STREAM.PURGE.MOOT",
        "$JS.API.STREAM.DELETE.MOOT",
        f"$JS.API.CONSUMER.DELETE.MOOT.{secret}",
        "$JS.API.STREAM.UPDATE.MOOT",
    )
    forged = json.dumps({"v": 1, "host": "db1", "room": "dev", "messages": []}).encode()
    sent = 0
    for target in targets:
        for subject, body in (
            ("$JS.API.STREAM.INFO.MOOT", b""),
            ("$JS.API.STREAM.MSG.GET.MOOT", json.dumps({"last_by_subj": poison}).encode()),
            (f"$JS.API.CONSUMER.MSG.NEXT.MOOT.{name}", b"1"),
            (f"$JS.API.DIRECT.GET.MOOT.{poison}", b""),
            ("moot.1.n.web1", forged),
        ):
            await web1.nc.publish(subject, body, reply=target, headers={"Moot-Last": "999"} if body == forged else None)
            sent += body == forged
        await web1.nc.flush()
        # Deliveries of a push consumer, too: its deliver subject is chosen by the client.
        await create_consumer(web1, random_name("web1"), poison, deliver_subject=target)
    await asyncio.sleep(0.7)
    after = await subjects(admin)
    after["moot.1.n.web1"] -= sent
    check("no reply or delivery for web1 is stored as a message of db1", after == before, f"{before} {after}")
    bad = [m for m in presence if m.subject.startswith("moot.1.p") and b'"host"' in m.data[:20]]
    check("presence of db1 that web1 chose does not arrive", not bad, str(bad))
    print(f"     ... {len(presence)} replies arrived at readers of moot.1.p.*: each is an answer of JetStream")
    well = [m for m in presence if m.subject == "moot.1.p.db1" and "v" in json.loads(m.data or b"{}")]
    check("none of these has the key v", not well, str([m.data for m in well]))
    state = await admin.call("$JS.API.STREAM.INFO.MOOT")
    check("the stream was not purged, deleted or changed", state.get("config", {}).get("max_bytes") == 1 << 30)
    got = await pull(db1, secret, 3)
    check("the consumer of db1 still works", len(got) == 3, str(len(got)))
    await db1.call(f"$JS.API.CONSUMER.DELETE.MOOT.{secret}")
    gone = await pull(db1, secret, 1, 0.3)
    check("a host deletes a consumer whose name it knows", not gone, str(gone))

    # A host that does not know the name of a consumer can't use it; one that does could read from it.
    other = random_name("web1")
    stolen = await create_consumer(web1, other, "", body_name=secret)
    unharmed = "error" in stolen or stolen.get("name") == other
    check("the name in the subject counts, not one of db1 in the body", unharmed, str(stolen))
    wider = await web1.call(
        f"$JS.API.CONSUMER.CREATE.MOOT.{random_name('web1')}.moot.1.n.web1",
        {"stream_name": "OTHER", "config": {"deliver_policy": "all", "ack_policy": "none"}},
    )
    check("a stream in the body that differs from the subject is refused", "error" in wider, str(wider))


async def single_account(binary):
    """Shows that permissions in one account do not say which host it is: the reason for two accounts."""
    with tempfile.TemporaryDirectory() as d:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        allow = '"moot.1.r.*.web1", "$JS.API.STREAM.INFO.MOOT", "$JS.API.DIRECT.GET.MOOT.>"'
        (pathlib.Path(d) / "c").write_text(
            f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{d}/js", max_file_store: 64MB }}\n'
            f"accounts {{ ONE {{ jetstream: enabled\n users: [ {{ user: admin, password: a }}, {{ user: web1, password: w, "
            f'permissions: {{ publish: {{ allow: [{allow}] }}, subscribe: {{ allow: ["_INBOX_web1.>"] }} }} }} ] }} }}\n'
        )
        p = subprocess.Popen([binary, "-c", f"{d}/c"], stderr=subprocess.DEVNULL)
        try:
            await asyncio.sleep(0.7)
            admin = await nats.connect(f"nats://127.0.0.1:{port}", user="admin", password="a")
            web1 = await nats.connect(
                f"nats://127.0.0.1:{port}", user="web1", password="w", inbox_prefix=b"_INBOX_web1"
            )
            await admin.request("$JS.API.STREAM.CREATE.MOOT", json.dumps({**STREAM, "max_bytes": 1 << 20, "allow_direct": True}).encode())
            await web1.request("moot.1.r.x.web1", b'{"v":1,"forged":true}', headers={"Moot-Last": "999"})
            await web1.publish("$JS.API.DIRECT.GET.MOOT.moot.1.r.x.web1", b"", reply="moot.1.r.x.db1")
            await web1.flush()
            await asyncio.sleep(0.3)
            reply = await admin.request("$JS.API.STREAM.MSG.GET.MOOT", b'{"last_by_subj":"moot.1.r.x.db1"}')
            got = json.loads(reply.data)
            check("for comparison, one account with the same permissions: web1 CAN store as db1", "message" in got, str(got))
            await admin.close(), await web1.close()
        finally:
            p.terminate()
            p.wait(10)


async def main(binaries):
    for binary in binaries:
        version = subprocess.run([binary, "-v"], capture_output=True, text=True).stdout.strip()
        print(f"== {version} ({binary})")
        with tempfile.TemporaryDirectory() as d:
            server = Server(binary, d)
            server.start()
            try:
                await access(server)
                admin, web1, db1 = [await Client(server, u).open() for u in ("admin", "web1", "db1")]
                await needed(admin, web1, db1)
                await forbidden(admin, web1, db1)
                await lies(admin, web1, db1)
                for client in (admin, web1, db1):
                    await client.nc.close()
            finally:
                server.stop()
        await single_account(binary)
    print("all cases passed" if not failed else f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", nargs="+", help="path of a nats-server program")
    sys.exit(asyncio.run(main(parser.parse_args().server)))
