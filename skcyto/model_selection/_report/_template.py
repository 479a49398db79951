"""Template of the HTML page of a comparison."""

TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  sans-serif; color: #1d2329; background: #fff; max-width: 1080px; margin: 2rem auto;
  padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .7rem;
  border-top: 1px solid #d8dde3; }
h3 { font-size: 1rem; margin: 1.3rem 0 .4rem; }
p { margin: .4rem 0 .8rem; max-width: 78ch; }
.note { color: #55606b; font-size: .87rem; }
.short { background: #f3f7fb; border-left: 4px solid #0072b2; padding: .7rem 1rem; }
.short p { margin: .2rem 0; }
.failed { background: #fdf3ee; border-left: 4px solid #d55e00; padding: .7rem 1rem; }
pre { font-size: .78rem; line-height: 1.35; white-space: pre-wrap; overflow-wrap: anywhere;
  background: #f7f7f7; padding: .6rem .8rem; margin: .3rem 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums;
  margin: .4rem 0 .9rem; }
th, td { padding: .28rem .65rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid #e8ebee; }
th { font-weight: 600; vertical-align: bottom; border-bottom: 1.5px solid #99a3ad; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 7rem; }
td.left, th.left { text-align: left; }
td small { color: #66717c; white-space: nowrap; }
.value { white-space: nowrap; }
td.best { font-weight: 650; }
td.best small { font-weight: 400; }
thead th { max-width: 11rem; overflow-wrap: anywhere; }
.key span { white-space: nowrap; }
.bar { display: flex; width: 170px; height: 13px; margin-top: .25rem; background: #eee; }
.bar i { display: block; height: 100%; }
.better { background: #009e73; } .same { background: #d9cfa8; } .worse { background: #d55e00; }
.key i { display: inline-block; width: .8em; height: .8em; margin: 0 .25em 0 .8em; }
figure { margin: .6rem 0 1.2rem; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: #55606b; font-size: .87rem; margin-top: .3rem; max-width: 78ch; }
@media print {
  @page { margin: 14mm; }
  body { font-size: 10.5pt; margin: 0; max-width: none; }
  h2, h3 { break-after: avoid; }
  figure, tr, .short, .failed { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  th, td { padding: .15rem .3rem; }
  .bar, .bar i, .key i { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="note">{{ facts.n_cases }} cases{% if facts.n_groups %} in {{ facts.n_groups }} groups
{%- endif %}; {% for name, count, share in facts.classes -%}
{{ name }} {{ count }} ({{ share }}){{ ", " if not loop.last else "." }}
{%- endfor %} {{ "Folds" if folds else "Split" }}: {{ facts.folds }}. Seed {{ facts.seed }}.</p>

{% if sentences %}
<div class="short">
{% for sentence in sentences %}<p>{{ sentence }}</p>
{% endfor %}</div>
{% endif %}

{% if failures %}
<h2>Failed</h2>
<div class="failed">
<p>These candidates failed{{ " on at least one fold" if folds }} and are in no table or test
below.</p>
{% for name, summary, traceback in failures %}
<h3>{{ name }}</h3>
<p>{{ summary }}</p>
<pre>{{ traceback }}</pre>
{% endfor %}
</div>
{% endif %}

{% if folds %}
<h2>Scores</h2>
<p class="note">{{ score_note }}{% if several %} The best mean of each column is bold, which
doesn't mean that it is better than the others: see the tests.{% endif %}</p>
{% for subject, headings, rows in score_tables %}
{% if subject %}<h3>{{ subject }}</h3>{% endif %}
<div class="scroll"><table>
<thead><tr><th>model</th>{% for name in headings %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for name, cells in rows %}<tr><td>{{ name }}</td>
{%- for cell in cells %}<td{% if cell.best %} class="best"{% endif %}>
<span class="value">{{ cell.mean }}
{%- if cell.std %} <small>± {{ cell.std }}</small>{% endif %}</span>
{%- if cell.interval %}<br><small>{{ cell.interval }}</small>{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endfor %}

{% if tests %}
<h2>Differences from {{ reference }} in {{ metric_title }}</h2>
<div class="scroll"><table>
<thead><tr><th>model</th><th>difference</th><th>t{% if df > 0 %} ({{ df }} df){% endif %}</th>
<th>p</th><th>p (Holm)</th>
<th>effect size</th><th class="left">probability: better, equivalent, worse</th></tr></thead>
<tbody>
{% for row in tests %}<tr><td>{{ row.model }}</td><td>{{ row.difference }}
{%- if row.interval %}<br><small>{{ row.interval }}</small>{% endif %}</td><td>{{ row.t }}</td>
<td>{{ row.p }}</td><td>{{ row.p_holm }}</td><td>{{ row.effect }}</td>
<td class="left">{% if row.believed %}{{ row.better }}, {{ row.same }}, {{ row.worse }}
<div class="bar"><i class="better" style="width:{{ row.widths[0] }}%"></i>
<i class="same" style="width:{{ row.widths[1] }}%"></i>
<i class="worse" style="width:{{ row.widths[2] }}%"></i></div>{% else %}not known{% endif %}</td>
</tr>
{% endfor %}</tbody></table></div>
<p class="note">Difference: model less reference, with {{ confidence_level }} confidence interval.
p: corrected resampled t-test over folds; Holm's correction for the {{ tests|length }}
comparison{{ "s" if tests|length > 1 }}. Effect size: difference over its standard deviation over
folds. Probabilities: Bayesian correlated t-test; differences up to {{ rope }} count as equivalent.
<span class="key"><span><i class="better"></i>better</span>
<span><i class="same"></i>equivalent</span>
<span><i class="worse"></i>worse</span></span></p>
{% endif %}

{% for figure in figures %}
{% if figure.heading %}<h2>{{ figure.heading }}</h2>{% endif %}
{% if figure.reason %}<p class="failed">Can't be drawn: {{ figure.reason }}.</p>
{% else %}<figure><img src="{{ figure.source }}" alt="{{ figure.alt }}">
<figcaption>{{ figure.caption }}</figcaption></figure>
{% endif %}
{% endfor %}

{% if pooled %}
<h2>Tests on pooled predictions</h2>
<p class="note">These ask about new cases more than about other training data
{%- if is_pooled %}. Folds lack classes, so that there is no test over folds to stand beside them.
{%- else %}: they support the tests over folds, they don't replace them.{% endif %}
{%- if facts.n_groups %} Cases of one group are not taken for independent.{% endif %}</p>
{% for table in pooled %}
<h3>{{ table.heading }}</h3>
{% if table.reason %}<p class="failed">Can't be worked out: {{ table.reason }}.</p>
{% else %}
<div class="scroll"><table>
<thead><tr>{% for name in table.columns %}<th{% if loop.index0 in table.left %} class="left"
{%- endif %}>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}<tr>{% for cell in row %}<td
{%- if loop.index0 in table.left %} class="left"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<p class="note">{{ table.note }}</p>
{% endif %}
{% endfor %}
{% endif %}

{% endif %}
{% for part in sets %}
{% include "one_set" %}
{% endfor %}

<h2>Models</h2>
{% for name, text, seconds in models %}
<h3>{{ name }}</h3>
<pre>{{ text }}</pre>
<p class="note">{{ seconds }}</p>
{% endfor %}

<h2>How this was worked out</h2>
{% if folds %}
<p>Every model was fitted on the training cases of the same folds; all numbers and figures come from
its predictions for cases that it wasn't trained on{% if facts.n_groups %}, and no group was on both
sides of a fold{% endif %}. Training sets of different folds overlap, so that the ordinary paired
t-test would find differences where there are none; the variance is corrected for this (Nadeau and
Bengio, Machine Learning 52, 2003; degrees of freedom are those of one round, and of the cases or
groups of the rarest class if they are fewer). Bayesian correlated t-test:
Corani and Benavoli, Machine Learning 100, 2015; Benavoli and others, JMLR 18, 2017. Areas: DeLong
and others, Biometrics 44, 1988; for groups Obuchowski, Biometrics 53, 1997.</p>
{% endif %}
{% if sets %}
<p>{% if folds %}For external validation every model was fitted once more, on all internal cases,
and tested on the cases of the other place, none of which it was trained on or chosen by.
{%- else %}Every model was fitted once, on the training cases, and tested on the others.{% endif %}
Intervals and tests on one test set ask about new cases of the same kind, taking the fitted models
as given: how much models would vary with other training data is not in them. Intervals of
accuracy and recalls: Clopper and Pearson's limits with mid-P tails (Agresti and Gottard,
Computational Statistics and Data Analysis 51, 2007; for groups Korn and Graubard, Survey
Methodology 24, 1998); of areas under ROC curves: Newcombe, Statistics in Medicine 25, 2006; of
other scores between 0 and 1: those of a share with the variance of 1000 bootstrap draws of whole
cases or groups; of losses and differences: Student's t with that variance and the cases or groups
of the rarest class less one degrees of freedom. Areas are compared with the test of DeLong and
others, Biometrics 44, 1988; for groups Obuchowski, Biometrics 53, 1997.</p>
{% endif %}
<p class="note">{{ versions }}</p>
</body>
</html>
"""
