// An HTTP server that takes CloudEvents and nothing else: what the SDK of the specification's authors reads, and what the
// official schema allows. It prints its port, and then one line of JSON for each request. A request that is no CloudEvent
// is answered with 400, and printed with its error. With a second argument, it answers 400 to all of them.

const fs = require("fs");
const http = require("http");
const Ajv = require("ajv");
const formats = require("ajv-formats");
const { HTTP } = require("cloudevents");

const ajv = new Ajv({ strict: false });
formats(ajv);
const allows = ajv.compile(JSON.parse(fs.readFileSync(process.argv[2])));

function received(headers, body) {
    const found = HTTP.toEvent({ headers, body });
    const events = Array.isArray(found) ? found : [found];
    for (const event of events) {
        event.validate();
        if (!allows(event.toJSON())) {
            throw new Error(ajv.errorsText(allows.errors));
        }
    }
    // Numbers of 64 bits do not survive here, so the data is left to the body.
    return events.map((event) => ({ ...event.toJSON(), data: undefined }));
}

const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
        const body = Buffer.concat(parts).toString();
        const line = { type: request.headers["content-type"], headers: request.headers, body };
        try {
            line.events = received(request.headers, body);
        } catch (error) {
            line.error = `${error.message} ${JSON.stringify(error.errors)}`;
        }
        response.statusCode = line.error || process.argv[3] ? 400 : 204;
        response.end();
        console.log(JSON.stringify(line));
    });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
// It ends with the test that started it.
process.stdin.on("end", () => process.exit(0)).resume();
