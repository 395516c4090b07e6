"""Rich output of the session, drawn."""

from __future__ import annotations

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

pytestmark = pytest.mark.browser


def test_html_markdown_and_latex_are_drawn(sheet):
    cell = sheet.run(
        "from IPython.display import HTML, Latex, Markdown\n"
        "display(HTML('<b id=\"bold\">bold</b>'), Markdown('*lean*'), Latex('$x^2$'))"
    )

    expect(cell.find("b#bold")).to_have_text("bold")
    expect(cell.find("em")).to_have_text("lean")
    expect(cell.find("mjx-container")).to_be_visible()


def test_a_data_frame_is_a_table(sheet):
    cell = sheet.run("import pandas as pd\npd.DataFrame({'where': ['session'], 'answer': [42]})")

    assert cell.find("table.dataframe th").all_inner_texts() == ["", "where", "answer", "0"]
    expect(cell.find("table.dataframe td").last).to_have_text("42")


def test_a_figure_of_matplotlib_is_a_picture(sheet):
    cell = sheet.run("%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([0, 1, 4]);")
    image = cell.find("img")
    expect(image).to_be_visible()

    assert image.evaluate("image => image.naturalWidth > 100 && image.naturalHeight > 100")


def test_plotly_draws_its_figure(sheet):
    pytest.importorskip("plotly")
    cell = sheet.run("import plotly.graph_objects as go\ngo.Figure(go.Bar(y=[2, 1, 3]))")

    expect(cell.find(".js-plotly-plot .bars path")).to_have_count(3)


def test_altair_draws_its_chart(sheet):
    pytest.importorskip("altair")
    cell = sheet.run(
        "import altair as alt, pandas as pd\n"
        "alt.renderers.enable('mimetype')\n"  # its HTML loads from the Internet
        "alt.Chart(pd.DataFrame({'x': [1, 2, 3], 'y': [2, 1, 3]})).mark_bar().encode(x='x:O', y='y')"
    )

    expect(cell.find(".vega-embed canvas, .vega-embed svg").first).to_be_visible()


def test_a_display_is_updated_in_its_place(sheet):
    cell = sheet.run("handle = display('first', display_id=True)\nhandle.update('second')")

    assert cell.text == "'second'"


def test_what_a_thread_says_later_comes_under_its_cell(sheet):
    cell = sheet.run("import threading\nthreading.Timer(1.0, lambda: print('said later')).start()")
    sheet.run("'another cell'")

    cell.shows("said later")
