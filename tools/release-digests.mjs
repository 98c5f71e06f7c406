// What a release's signed provenance says. Its signature is not checked here: `portcullis verify --provenance` does.
//
// usage: node tools/release-digests.mjs toolchain|commit|digests <provenance.json>
import { readFileSync } from "node:fs";

const [what, file] = process.argv.slice(2);
const envelope = JSON.parse(readFileSync(file, "utf8"));
const statement = JSON.parse(Buffer.from(envelope.payload, "base64").toString("utf8"));
const build = statement.predicate.buildDefinition;
const say = {
    toolchain: () => build.internalParameters.toolchain.map((line) => line),
    commit: () => build.resolvedDependencies.map((it) => it.digest.gitCommit).filter(Boolean),
    digests: () => statement.subject.map((it) => `${it.digest.sha256}  ${it.name}`).sort((a, b) => (a.slice(66) < b.slice(66) ? -1 : 1)),
}[what];
if (say === undefined) {
    console.error("usage: release-digests.mjs toolchain|commit|digests <provenance.json>");
    process.exit(2);
}
for (const line of say()) console.log(line);
