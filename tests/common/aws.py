"""SQS, SNS and EventBridge of the tests: moto, behind a server that keeps connections open, and that fails as it is told to.

aws.py PORT. Beside the API it answers POST /~take (the messages of a queue or the events of a bus, which are removed, as a consumer would) and POST /~suffer (what
befalls the calls that send to a target). For each message, moto goes through all others of the queue to drop repeats and to count; here it does not, so that a queue can have many.
"""

import json
import random
import sys
import threading
import time
import uuid
import xml.etree.ElementTree as xml
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode

from moto.backends import get_backend
from moto.events.models import EventsBackend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sns.models import Topic
from moto.sqs.models import DEDUPLICATION_TIME_IN_SECONDS, Queue
from werkzeug.test import EnvironBuilder, run_wsgi_app

ACCOUNT, REGION = "123456789012", "us-east-1"
NAMESPACE = "http://sns.amazonaws.com/doc/2010-03-31/"

app = DomainDispatcherApplication(create_backend_app)
# Moto's own code is not made for calls at the same time.
lock = threading.RLock()
# What befalls calls, by the name of their target.
suffering = {}
dice = random.Random(1)
counts = {"agents": {}}


def add_message(queue, message, original=Queue.add_message):
    known = queue.__dict__.setdefault("repeats", {})
    repeat = message.deduplication_id if queue.fifo_queue else None
    if repeat:
        if time.time() - known.get(repeat, 0) < DEDUPLICATION_TIME_IN_SECONDS:
            return
        known[repeat] = time.time()
    with queue._messages_lock:
        queue._messages.append(message)
        queue._messages_lock.notify_all()


Queue.add_message = add_message
# Moto counts all messages for each one that is sent.
Queue.approximate_number_of_messages = property(lambda queue: len(queue._messages))
Queue.approximate_number_of_messages_delayed = property(lambda queue: 0)
Queue.approximate_number_of_messages_not_visible = property(lambda queue: 0)


# Moto counts no subscriptions.
Topic.subscriptions_confimed = property(
    lambda topic: len(topic.sns_backend.list_subscriptions_by_topic(topic_arn=topic.arn)[0]), lambda topic, _: None
)

# What was put on each bus, as it came.
events = {}


def put_events(backend, entries, original=EventsBackend.put_events):
    """Moto refuses events for a bus that does not exist. The service gives them ids, and drops them."""
    name = entries[0].get("EventBusName", "default").split("/")[-1]
    if name not in backend.event_buses:
        return [{"EventId": str(uuid.uuid4())} for _ in entries]
    answers = original(backend, entries)
    events.setdefault(name, []).extend(entry for entry, answer in zip(entries, answers) if "EventId" in answer)
    return answers


EventsBackend.put_events = put_events


def take_events(name):
    with lock:
        return [
            {"body": entry["Detail"], "attributes": {
                "detail-type": entry["DetailType"], "source": entry["Source"], "time": str(entry.get("Time")), "resources": ",".join(entry.get("Resources", []))
            }} for entry in events.pop(name, [])
        ]


def take(name):
    queue = get_backend("sqs")[ACCOUNT][REGION].queues[name]
    with queue._messages_lock:
        messages = list(queue._messages)
        queue._messages.clear()

    def shown(message):
        attributes = {name: value.get("StringValue") for name, value in (message.message_attributes or {}).items()}
        return {"body": message.body, "group": message.group_id, "repeat": message.deduplication_id, "attributes": attributes}

    return [shown(message) for message in messages]


class Call:
    """A call that sends to a target; `target` is None for every other one."""

    def __init__(self, headers, body):
        self.headers, self.raw, self.target, self.form = headers, body, None, None
        action = headers.get("X-Amz-Target", "")
        if action.endswith((".SendMessageBatch", ".PutEvents")):
            self.fields = json.loads(body)
            self.entries = self.fields["Entries"]
            place = self.fields.get("QueueUrl") or self.entries[0].get("EventBusName", "")
            self.texts = [entry.get("MessageBody") or entry.get("Detail", "") for entry in self.entries]
        elif b"Action=PublishBatch" in body:
            self.form = parse_qsl(body.decode())
            self.fields = dict(self.form)
            place, grouped = self.fields["TopicArn"], {}
            for name, value in self.form:
                words = name.split(".")
                if words[0] == "PublishBatchRequestEntries":
                    grouped.setdefault(int(words[2]), {})[".".join(words[3:])] = value
            self.entries = [grouped[number] for number in sorted(grouped)]
            self.texts = [entry["Message"] for entry in self.entries]
        else:
            return
        self.target = place.split("/")[-1].split(":")[-1]
        self.is_sqs = "QueueUrl" in self.fields

    def without(self, failed):
        """The body with only the entries that are not in `failed`."""
        kept = [entry for number, entry in enumerate(self.entries) if number not in failed]
        if self.form is None:
            return json.dumps({**self.fields, "Entries": kept}).encode()
        pairs = [(name, value) for name, value in self.form if not name.startswith("PublishBatchRequestEntries.")]
        for number, entry in enumerate(kept, 1):
            pairs += [(f"PublishBatchRequestEntries.member.{number}.{name}", value) for name, value in entry.items()]
        return urlencode(pairs).encode()

    def merged(self, answer, failed):
        """The answer with these failures in it, each a code and whose fault it is."""
        if self.form is not None:
            root = xml.fromstring(answer) if answer else xml.fromstring(
                f'<PublishBatchResponse xmlns="{NAMESPACE}"><PublishBatchResult><Successful/><Failed/></PublishBatchResult></PublishBatchResponse>'
            )
            list_of_failed = root.find(f".//{{{NAMESPACE}}}Failed")
            if list_of_failed is None:
                list_of_failed = xml.SubElement(root.find(f".//{{{NAMESPACE}}}PublishBatchResult"), f"{{{NAMESPACE}}}Failed")
            for number, (code, is_ours) in failed.items():
                member = xml.SubElement(list_of_failed, f"{{{NAMESPACE}}}member")
                said = {"Id": self.entries[number]["Id"], "Code": code, "Message": "as it is told to", "SenderFault": str(is_ours).lower()}
                for name, value in said.items():
                    xml.SubElement(member, f"{{{NAMESPACE}}}{name}").text = value
            return xml.tostring(root)
        answer = json.loads(answer or "{}")
        if self.is_sqs:
            said = [
                {"Id": self.entries[number]["Id"], "Code": code, "Message": "as it is told to", "SenderFault": is_ours}
                for number, (code, is_ours) in failed.items()
            ]
            return json.dumps({"Successful": answer.get("Successful", []), "Failed": answer.get("Failed", []) + said}).encode()
        passed = iter(answer.get("Entries", []))
        entries = [
            {"ErrorCode": failed[number][0], "ErrorMessage": "as it is told to"} if number in failed else next(passed)
            for number in range(len(self.entries))
        ]
        return json.dumps({"FailedEntryCount": len(failed), "Entries": entries}).encode()

    def error(self, status, code, message="as it is told to"):
        if self.form is None:
            return status, [("Content-Type", "application/x-amz-json-1.0")], json.dumps({"__type": code, "message": message}).encode()
        body = f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>'
        return status, [("Content-Type", "text/xml")], body.encode()


def passed(headers, path, body):
    kept = [(name, value) for name, value in headers.items() if name.lower() not in ("content-length", "connection")]
    builder = EnvironBuilder(path=path, method="POST", data=body, headers=kept)
    with lock:
        answer, status, found = run_wsgi_app(app, builder.get_environ(), buffered=True)
        whole = b"".join(answer)
    builder.close()
    return int(status.split()[0]), [(name, value) for name, value in found if name in ("Content-Type", "x-amzn-query-error")], whole


def befallen(headers, path, body):
    """A status, headers and a body; None if the connection breaks without an answer."""
    call = Call(headers, body)
    counts["agents"][call.target] = headers.get("User-Agent", "")
    token = headers.get("X-Amz-Security-Token")
    if token and any(cause.get("expired") == token for cause in list(suffering.values())):
        return call.error(400, "ExpiredToken", "the security token is expired")
    denied = {cause.get("deny", "nothing") for cause in list(suffering.values())}
    if headers.get("X-Amz-Target", "").split(".")[-1] in denied:
        return 400, [("Content-Type", "application/x-amz-json-1.1")], json.dumps({"__type": "AccessDeniedException", "message": "it may not"}).encode()
    cause = suffering.get(call.target, {})
    if "error" in cause:
        return call.error(*cause["error"])
    # Each of them is a text of a record, a code and whose fault it is.
    failed = {}
    for text, code, is_ours in cause.get("fail", []):
        failed.update({number: (code, is_ours) for number, whole in enumerate(call.texts or []) if text in whole})
    for text, status, code in cause.get("refuse", []):
        if any(text in whole for whole in call.texts):
            return call.error(status, code)
    chance = dice.random() if cause.get("random") else 1
    counts["calls"] = counts.get("calls", 0) + (call.target is not None)
    if chance < 0.1:
        counts["failed"] = counts.get("failed", 0) + 1
    if chance < 0.01:
        return call.error(503, "ServiceUnavailable")
    if chance < 0.02:
        return call.error(400, "ThrottlingException")
    if chance < 0.08:
        failed.update({number: ("InternalError", False) for number in range(len(call.entries)) if dice.random() < 0.5})
    if len(failed) == len(call.entries) if call.target else False:
        return 200, [("Content-Type", "application/x-amz-json-1.0")], call.merged(None, failed)
    status, found, answer = passed(headers, path, call.without(failed) if failed else body)
    if 0.08 <= chance < 0.09:
        return None
    if 0.09 <= chance < 0.1:
        return call.error(500, "InternalFailure")
    return status, found, call.merged(answer, failed) if failed and status == 200 else answer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Headers and body leave together.
    wbufsize = -1

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/~"):
            said = json.loads(body)
            if self.path == "/~suffer":
                suffering[said.pop("target")] = said
            if self.path == "/~take":
                said = take(said["queue"]) if "queue" in said else take_events(said["bus"])
            else:
                said = counts
            answer = 200, [("Content-Type", "application/json")], json.dumps(said).encode()
        else:
            answer = befallen(self.headers, self.path, body)
        if answer is None:
            self.close_connection = True
            return
        status, headers, whole = answer
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(whole)
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
