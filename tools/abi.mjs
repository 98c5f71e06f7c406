// What each filter takes from the gateway and offers to it, kept in filters/<name>/abi.txt.
// An export that is not needed costs every request a crossing; an import that is new is a new power.
//
// usage: node tools/abi.mjs update|check
import { readFileSync, readdirSync, writeFileSync, existsSync } from "node:fs";

const mode = process.argv[2];
if (mode !== "update" && mode !== "check") {
    console.error("usage: abi.mjs update|check");
    process.exit(2);
}

const interfaceOf = (wasm) => {
    const module = new WebAssembly.Module(readFileSync(wasm));
    return [
        ...WebAssembly.Module.exports(module).map((it) => `export ${it.name}`),
        ...WebAssembly.Module.imports(module).map((it) => `import ${it.module}.${it.name}`),
    ].sort();
};

const linesOf = (file) =>
    existsSync(file) ? readFileSync(file, "utf8").split("\n").filter((line) => line !== "") : [];

let passed = 0;
let failed = 0;
for (const file of readdirSync("dist").filter((name) => name.endsWith(".wasm")).sort()) {
    const filter = file.slice(0, -".wasm".length).replaceAll("_", "-");
    if (!existsSync(`filters/${filter}`)) continue;
    const list = `filters/${filter}/abi.txt`;
    const found = interfaceOf(`dist/${file}`);
    if (mode === "update") {
        writeFileSync(list, found.join("\n") + "\n");
        console.log(`wrote ${list}`);
        continue;
    }
    const expected = linesOf(list);
    const grown = found.filter((line) => !expected.includes(line)).map((line) => `  + ${line}`);
    const shrunk = expected.filter((line) => !found.includes(line)).map((line) => `  - ${line}`);
    if (grown.length + shrunk.length === 0) {
        passed += 1;
        continue;
    }
    failed += 1;
    console.log([`${list} and dist/${file} differ:`, ...grown, ...shrunk].join("\n"));
}
if (mode === "check") {
    if (failed > 0) console.log("If the change is meant, run `make abi` and commit the lists.");
    console.log(`abi: ${passed} passed, ${failed} failed, 0 skipped`);
    process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}
