"""Every Mermaid diagram of the project is one that Mermaid itself can read."""
import json
import os
import re
import shutil
import subprocess
import textwrap

import helpers
import pytest

MODULES = os.environ.get("MERMAID_MODULES")
PARSE = """
const { JSDOM } = await import(process.argv[2] + "/jsdom/lib/api.js");
const { window } = new JSDOM("");
globalThis.window = window;
globalThis.document = window.document;
const mermaid = (await import(process.argv[2] + "/mermaid/dist/mermaid.core.mjs")).default;
let text = "";
for await (const chunk of process.stdin) text += chunk;
for (const diagram of JSON.parse(text)) {
  try { await mermaid.parse(diagram); console.log("read"); } catch (error) { console.log("refused: " + error); }
}
"""


def verdicts(diagrams, folder):
    script = folder / "parse.mjs"
    script.write_text(PARSE)
    process = subprocess.run(["node", str(script), os.path.abspath(MODULES)], input=json.dumps(diagrams),
                             capture_output=True, encoding="utf-8", timeout=120, check=True)
    return process.stdout.splitlines()


@pytest.mark.skipif(not (MODULES and shutil.which("node")), reason="MERMAID_MODULES names no node_modules folder")
def test_mermaid_reads_every_diagram(tmp_path):
    found = re.findall(r"```mermaid\n(.*?)```", helpers.source("script_gpt_refactored"), re.DOTALL)
    diagrams = [textwrap.dedent(diagram) for diagram in found]
    assert verdicts(diagrams, tmp_path) == ["read"] * 11
    assert verdicts(["flowchart LR\n a[[ --> b"], tmp_path)[0].startswith("refused")
