"""report.html: one page about one or more runs, from the files that they wrote.

`page` writes it, `runs` reads the run folders, and each section of the page has a module that makes its tables, charts and pictures.
Nothing here imports torch. Plotly and Jinja2 are the extra `tlkit[report]`.
"""
