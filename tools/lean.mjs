// Leaves out of a filter every proxy_on_* export that does nothing: a function without locals whose
// body is empty or one constant. Kong needs them, Envoy would make a crossing for each on every
// request: see docs/adr/0002-callbacks-that-do-nothing.md.
//
// usage: node tools/lean.mjs <in.wasm> <out.wasm>
import { readFileSync, writeFileSync } from "node:fs";

const [input, output] = process.argv.slice(2);
if (!output) {
    console.error("usage: lean.mjs <in.wasm> <out.wasm>");
    process.exit(2);
}

const EXPORT = 7, CODE = 10;
const FUNCTION = 0;
const NOP = 0x01, I32_CONST = 0x41, END = 0x0b;

class Reader {
    constructor(bytes) {
        this.bytes = bytes;
        this.at = 0;
    }
    byte() {
        return this.bytes[this.at++];
    }
    number() {
        let value = 0, shift = 0, byte;
        do {
            byte = this.byte();
            value += (byte & 0x7f) * 2 ** shift;
            shift += 7;
        } while (byte & 0x80);
        return value;
    }
    take(length) {
        this.at += length;
        return this.bytes.subarray(this.at - length, this.at);
    }
    get done() {
        return this.at >= this.bytes.length;
    }
}

const leb = (value) => {
    const out = [];
    do {
        out.push((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value = Math.floor(value / 128);
    } while (value > 0);
    return Buffer.from(out);
};

const module = readFileSync(input);
const sections = [];
const reader = new Reader(module);
const preamble = reader.take(8);
while (!reader.done) {
    const id = reader.byte();
    sections.push({ id, body: reader.take(reader.number()) });
}
const bodyOf = (id) => new Reader(sections.find((section) => section.id === id).body);

const importedFunctions = (module) =>
    WebAssembly.Module.imports(module).filter((it) => it.kind === "function").length;

const codes = bodyOf(CODE);
const idle = new Set();
const first = importedFunctions(new WebAssembly.Module(module));
const count = codes.number();
for (let index = 0; index < count; index += 1) {
    const body = new Reader(codes.take(codes.number()));
    if (body.number() !== 0) continue;
    let op = body.byte();
    while (op === NOP) op = body.byte();
    if (op === I32_CONST) {
        body.number();
        op = body.byte();
    }
    if (op === END && body.done) idle.add(first + index);
}

const exports = bodyOf(EXPORT);
const kept = [];
for (let left = exports.number(); left > 0; left -= 1) {
    const start = exports.at;
    const name = exports.take(exports.number()).toString();
    const kind = exports.byte();
    const index = exports.number();
    const drop = kind === FUNCTION && name.startsWith("proxy_on_") && idle.has(index);
    if (!drop) kept.push(exports.bytes.subarray(start, exports.at));
}

const out = [preamble];
for (const { id, body } of sections) {
    const written = id === EXPORT ? Buffer.concat([leb(kept.length), ...kept]) : body;
    out.push(Buffer.from([id]), leb(written.length), written);
}
writeFileSync(output, Buffer.concat(out));
