"""Template of the part of the HTML page that is about one test set."""

ONE_SET = """\
<h2>{{ part.heading }}</h2>
<p class="note">{{ part.facts }}</p>
{% if part.failures %}
<div class="failed">
<p>These candidates failed here and are in no table or test of this set.</p>
{% for name, summary, traceback in part.failures %}
<h3>{{ name }}</h3>
<p>{{ summary }}</p>
<pre>{{ traceback }}</pre>
{% endfor %}
</div>
{% endif %}
{% if part.models %}
<div class="short">
{% for sentence in part.sentences %}<p>{{ sentence }}</p>
{% endfor %}</div>

{% if part.beside %}
<h3>{{ part.metric_title }} inside and here</h3>
<div class="scroll"><table>
<thead><tr><th>model</th><th>cross-validation of the internal cases</th><th>this set</th></tr>
</thead>
<tbody>
{% for name, inside, here in part.beside %}<tr><td>{{ name }}</td><td>{{ inside }}</td>
<td>{{ here }}</td></tr>
{% endfor %}</tbody></table></div>
{% endif %}

<h3>Scores</h3>
<p class="note">{{ part.note }}{% if part.tests %} The best score of each column is bold, which
doesn't mean that it is better than the others: see the tests.{% endif %}
{%- for reason in part.without_interval %} No interval of {{ reason }}.{% endfor %}</p>
{% for subject, headings, rows in part.score_tables %}
{% if subject %}<h3>{{ subject }}</h3>{% endif %}
<div class="scroll"><table>
<thead><tr><th>model</th>{% for name in headings %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for name, cells in rows %}<tr><td>{{ name }}</td>
{%- for cell in cells %}<td{% if cell.best %} class="best"{% endif %}>
<span class="value">{{ cell.mean }}</span>
{%- if cell.interval %}<br><small>{{ cell.interval }}</small>{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endfor %}

{% if part.tests %}
<h3>Differences from {{ part.reference }} in {{ part.metric_title }}</h3>
<div class="scroll"><table>
<thead><tr><th>model</th><th>difference</th><th>p</th><th>p (Holm)</th></tr></thead>
<tbody>
{% for row in part.tests %}<tr><td>{{ row.model }}</td><td>{{ row.difference }}
{%- if row.interval %}<br><small>{{ row.interval }}</small>{% endif %}</td><td>{{ row.p }}</td>
<td>{{ row.p_holm }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">Difference: model less reference, with {{ part.confidence_level }} confidence
interval of the bootstrap by {{ part.unit }}. p: permutation test, in which the two predictions
of each {{ part.unit }} are exchanged between the models; Holm's correction for the
{{ part.tests|length }} comparison{{ "s" if part.tests|length > 1 }}.</p>
{% endif %}

{% for table in part.pooled %}
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

{% for figure in part.figures %}
<h3>{{ figure.heading }}</h3>
{% if figure.reason %}<p class="failed">Can't be drawn: {{ figure.reason }}.</p>
{% else %}<figure><img src="{{ figure.source }}" alt="{{ figure.alt }}">
<figcaption>{{ figure.caption }}</figcaption></figure>
{% endif %}
{% endfor %}
{% endif %}
"""
