"""The template of `report.html`: plain HTML, no script, nothing fetched."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { --paper: #ffffff; --ink: #222222; --soft: #5f6368; --line: #dcdfe3; --good: #00694f; --bad: #a34300 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #1b1d20; --ink: #d8dade; --soft: #9aa0a8; --line: #3a3e45; --good: #2bc79a; --bad: #f0a05a }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem } p { max-width: 46rem }
.soft, small { color: var(--soft) } small { display: block; font-size: .8rem; line-height: 1.35 }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem 1.5rem }
figure { margin: 0 } img { display: block; width: 100%; height: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding-bottom: .25rem }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top }
th:first-child, td:first-child { text-align: left; padding-left: 0 } th { font-weight: 600; font-size: .85rem }
tr.mean td { font-weight: 700; border-bottom: 0 } td.rate { white-space: nowrap }
.good { color: var(--good) } .bad { color: var(--bad) }
details { margin-top: 1rem; border-top: 1px solid var(--line); padding-top: .75rem }
summary { cursor: pointer; font-weight: 600 } .scroll { overflow-x: auto }
.points { font-size: .8rem } .points td, .points th { white-space: nowrap }
dl { display: grid; grid-template-columns: minmax(6rem, auto) 1fr; gap: .2rem 1rem; margin: .5rem 0; font-size: .85rem }
dt { font-weight: 600; overflow-wrap: normal } dd { margin: 0 } dd dl { margin: 0 0 .4rem; font-size: 1em }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0 } dt { margin-top: .4rem }
  dd dl { padding-left: .75rem; border-left: 2px solid var(--line) } }
</style>
</head>
<body>
{%- macro show(value) %}
{%- if value is mapping %}<dl>
{%- for name, inner in value.items() %}<dt>{{ name }}</dt><dd>{{ show(inner) }}</dd>{% endfor %}</dl>
{%- elif value is sequence and value is not string %}{{ value | join(", ") }}{% else %}{{ value }}{% endif %}
{%- endmacro %}
<h1>{{ title }}</h1>
<p class="soft">{{ clips | length }} clip{{ "s" if clips | length != 1 }}, real files, decoded and scored.
BD-rate is the rate a codec needs more than its anchor at equal quality: negative is better. Overlap is the range of
quality that both curves cover, over the range they span together.</p>
<h2>BD-rate</h2>
{%- if not tables %}
<p>One codec: there is nothing to compare it with.</p>
{%- endif %}
<div class="grid">
{%- for rows in tables %}
<table>
<caption>{{ rows[0].title }}<small>{{ rows[0].pair }}</small></caption>
<thead><tr><th scope="col">clip</th><th scope="col">BD-rate</th><th scope="col">overlap</th></tr></thead>
<tbody>
{%- for row in rows %}
<tr{% if row.mean %} class="mean"{% endif %}>
<td>{{ row.clip }}{% if row.note %}<small>{{ row.note }}</small>{% endif %}</td>
<td class="rate {{ row.kind }}">{{ row.rate }}</td><td>{{ row.overlap }}</td></tr>
{%- endfor %}
</tbody>
</table>
{%- endfor %}
</div>
{%- for metric in metrics %}
<h2>{{ metric.title }}</h2>
<p class="soft">{{ metric.rule }}</p>
<div class="grid">
{%- for picture in metric.pictures %}
<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{{ picture.dark }}">
<img src="{{ picture.light }}" alt="{{ picture.alt }}"></picture></figure>
{%- endfor %}
</div>
{%- endfor %}
<details>
<summary>All {{ points | length }} points</summary>
<div class="scroll"><table class="points">
<thead><tr>{% for name in columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for point in points %}
<tr>{% for cell in point %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>
</details>
{%- if kinds %}
<details>
<summary>Intra and predicted frames apart</summary>
<div class="scroll"><table class="points">
<thead><tr>{% for name in kind_columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in kinds %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>
</details>
{%- endif %}
<details open>
<summary>Conditions</summary>
{{ show(conditions) }}
</details>
</body>
</html>
"""
