#!/usr/bin/env python3
"""docs/openapi.yaml as JSON, and as a plain page.

    make_openapi.py openapi.yaml openapi.json page.html

The page lists the operations. It is what /docs shows where the viewer is not installed (scripts/make_web.sh).
"""
import html
import json
import sys

import yaml


class Loader(yaml.SafeLoader):
    """Takes no key twice: the second would silently win."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is no text", key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is there twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def page(document):
    info = document["info"]
    title = html.escape(info["title"])
    lines = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<title>{title}</title>\n<link rel="icon" href="data:,">',
        '<link rel="stylesheet" href="/docs/page.css">\n</head>\n<body>\n<main>',
        f"<h1>{title} {html.escape(info['version'])}</h1>\n<p>{html.escape(info['summary'])}.</p>",
        '<p>The whole description is <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1). The page that tries it out is'
        " not installed here: <code>make web</code> fetches it, with npm.</p>",
    ]
    for tag in document["tags"]:
        lines.append(f"<h2>{html.escape(tag['name'])}</h2>\n<p>{html.escape(tag['description'])}</p>\n<table>")
        for path, item in document["paths"].items():
            for method in METHODS:
                if tag["name"] in item.get(method, {}).get("tags", []):
                    lines.append(f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td>"
                                 f"<td>{html.escape(item[method]['summary'])}</td></tr>")
        lines.append("</table>")
    lines.append("</main>\n</body>\n</html>\n")
    return "\n".join(lines)


def main(source, target, target_page):
    with open(source, encoding="utf-8") as file:
        document = yaml.load(file, Loader)  # noqa: S506  (a SafeLoader)
    with open(target, "w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, indent=1)
        file.write("\n")
    with open(target_page, "w", encoding="utf-8") as file:
        file.write(page(document))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
