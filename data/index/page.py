"""The template of an index's report: plain HTML, no script, nothing fetched."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Index of {{ where }}</title>
<style>
:root { --paper: #ffffff; --ink: #222222; --soft: #5f6368; --line: #dcdfe3 }
@media (prefers-color-scheme: dark) { :root { --paper: #1b1d20; --ink: #d8dade; --soft: #9aa0a8; --line: #3a3e45 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem } p { max-width: 46rem }
.soft, small { color: var(--soft) } small { display: block; font-size: .8rem; font-weight: 400; line-height: 1.35 }
.big { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem; margin: 1.25rem 0 }
.big div { border-top: 2px solid var(--line); padding-top: .4rem } .big b { display: block; font-size: 1.5rem; line-height: 1.3 }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1.5rem; align-items: start }
figure { margin: 0 } figcaption { font-weight: 600; font-size: .9rem } img { display: block; width: 100%; height: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .3rem .5rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top }
th:first-child, td:first-child { padding-left: 0 } th { font-weight: 600; font-size: .85rem }
.list td:first-child { overflow-wrap: anywhere } .n { text-align: right; white-space: nowrap }
details { margin-top: 1rem } summary { cursor: pointer; font-weight: 600 }
dl { display: grid; grid-template-columns: minmax(8rem, auto) 1fr; gap: .2rem 1rem; margin: .5rem 0; font-size: .85rem }
dt { font-weight: 600 } dd { margin: 0 }
@media (max-width: 40rem) {
  .list thead { display: none } .list tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line) }
  .list td { display: block; padding: 0; border: 0; text-align: left } .list td:first-child { font-weight: 600 }
}
</style>
</head>
<body>
<h1>Index of {{ where }}</h1>
<p class="soft">Root {{ root }}{% if part %}, part {{ part[0] }} of {{ part[1] }}{% endif %}. Every file was
decoded from beginning to end; sequences end at scene cuts. Frames are counted from 0.</p>
<div class="big">
<div><b>{{ "{:,}".format(counts.sequences) }}</b>sequences</div>
<div><b>{{ (counts.hours * 3600) | clock }}</b>of video</div>
<div><b>{{ "{:,}".format(counts.frames) }}</b>frames</div>
<div><b>{{ "{:,.2f}".format(counts.gigabytes) }}</b>GB</div>
<div><b>{{ "{:,}".format(counts.files_used) }}</b>of {{ "{:,}".format(counts.files) }} files used</div>
<div><b>{{ "{:,}".format(counts.files_rejected) }}</b>files rejected</div>
</div>
{%- if reasons %}
<h2>Left out</h2>
<table>
<thead><tr><th scope="col">reason</th><th scope="col" class="n">times</th><th scope="col" class="n">time</th>
<th scope="col">what can be done, for example</th></tr></thead>
<tbody>
{%- for row in reasons %}
<tr><td>{{ row.reason }}</td>
<td class="n">{{ "{:,}".format(row.seconds_count) }}</td><td class="n">{{ row.seconds_sum | clock }}</td>
<td>{{ row.remedy_min }}</td></tr>
{%- endfor %}
</tbody>
</table>
<p class="soft">All of them, each with its reason: {{ listing }}. An unreadable file is one row of 0 frames.</p>
{%- endif %}
{%- if pictures %}
<h2>What is in it</h2>
<div class="grid">
{%- for picture in pictures %}
<figure><figcaption>{{ picture.title }}<small>{{ picture.words }}</small></figcaption>
<img src="{{ picture.uri }}" alt="Histogram: {{ picture.title }}, {{ picture.words }}"></figure>
{%- endfor %}
{%- for title, rows in tables %}
<table>
<thead><tr><th scope="col">{{ title }}</th>
<th scope="col" class="n">sequences</th><th scope="col" class="n">time</th></tr></thead>
<tbody>
{%- for row in rows %}
<tr><td>{{ row.value }}</td><td class="n">{{ "{:,}".format(row.sequences) }}</td><td class="n">{{ row.seconds | clock }}</td></tr>
{%- endfor %}
</tbody>
</table>
{%- endfor %}
</div>
{%- endif %}
{%- if rejected %}
<h2>Rejected files</h2>
<table class="list">
<thead><tr><th scope="col">file</th><th scope="col">reason</th><th scope="col">remedy</th></tr></thead>
<tbody>
{%- for row in rejected %}
<tr><td>{{ row.path }}</td><td>{{ row.detail }}</td><td class="soft">{{ row.remedy }}</td></tr>
{%- endfor %}
</tbody>
</table>
{%- if counts.files_rejected > rejected | length %}
<p class="soft">The first {{ rejected | length }} of {{ counts.files_rejected }}; {{ listing }} has all.</p>
{%- endif %}
{%- endif %}
{%- if left_out %}
<details>
<summary>Sequences left out: {{ "{:,}".format(left_out_total) }}
{%- if left_out_total > left_out | length %}, the first {{ left_out | length }}{% endif %}</summary>
<table class="list">
<thead><tr><th scope="col">file</th><th scope="col">frames</th>
<th scope="col">reason</th><th scope="col">detail</th></tr></thead>
<tbody>
{%- for row in left_out %}
<tr><td>{{ row.path }}</td><td>{{ row.first }}–{{ row.first + row.frames - 1 }}</td>
<td>{{ row.reason }}</td><td class="soft">{{ row.detail }}</td></tr>
{%- endfor %}
</tbody>
</table>
</details>
{%- endif %}
<details>
<summary>Options</summary>
<dl>{% for name, value in options.items() %}
<dt>{{ name }}</dt><dd>{{ value if value is string or value is number else value | join(", ") }}</dd>{% endfor %}</dl>
</details>
</body>
</html>
"""
