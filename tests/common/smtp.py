"""The SMTP server of the tests: aiosmtpd, which keeps each mail as a line of JSON, and refuses what the file `cause` says.

smtp.py PORT DIRECTORY. With cert.pem and key.pem in the directory, clients have to change to TLS, or begin with it if there is a file `implicit`. With
a file `login` (USER:PASSWORD), they have to log in.
"""

import asyncio
import email
import email.policy
import json
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

directory = pathlib.Path(sys.argv[2])


def read(name):
    """The text of a file; empty if there is none."""
    try:
        return (directory / name).read_text()
    except FileNotFoundError:
        return ""


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        text = mail.get_body(("plain",)).get_content()
        cause = read("cause")
        for line in cause.splitlines():
            code, _, words = line.partition(" ")
            if code.isdigit() and words in text:
                return f"{code} refused for now or for good"
        kept = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": mail["Subject"],
            "id": mail["Message-ID"],
            "text": text,
            "html": mail.get_body(("html",)).get_content(),
            "user": session.auth_data.decode() if session.auth_data else None,
            "tls": server.transport.get_extra_info("ssl_object") is not None,
        }
        with open(directory / "taken", "a") as taken:
            taken.write(json.dumps(kept) + "\n")
        while read("cause") == "silent":
            await asyncio.sleep(0.01)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, auth_data):
    given = f"{auth_data.login.decode()}:{auth_data.password.decode()}"
    if given != read("login"):
        return AuthResult(success=False, handled=False)
    return AuthResult(success=True, auth_data=auth_data.login)


def options(context):
    found = {"enable_SMTPUTF8": True, "timeout": 60}
    if context and not read("implicit"):
        found.update(tls_context=context, require_starttls=True)
    if read("login"):
        found.update(authenticator=authenticate, auth_required=True, auth_require_tls=bool(context) and not read("implicit"))
    return found


async def main():
    context = None
    if read("cert.pem"):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    from_start = context if read("implicit") else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), hostname="mail.example.com", loop=loop, **options(context)), "127.0.0.1", int(sys.argv[1]), ssl=from_start
    )
    await server.serve_forever()


asyncio.run(main())
