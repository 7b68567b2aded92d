// Draws the charts in the colours of the page's theme, and shows pictures under the pointer on maps.
"use strict";
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const narrow = () => window.innerWidth < 600;

  function themed(layout) {
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line") };
    return {
      ...layout,
      autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--text"), size: narrow() ? 11 : 12, family: "system-ui, sans-serif" },
      hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: colour("--text") } },
      margin: { l: narrow() ? 46 : 64, r: 12, t: layout.annotations && layout.annotations.length ? 52 : 20, b: 46 },
      legend: { orientation: "h", yref: "container", yanchor: "bottom", y: 0, ...(layout.legend || {}) },
      xaxis: { automargin: true, ...axis, ...(layout.xaxis || {}) },
      yaxis: { automargin: true, ...axis, ...(layout.yaxis || {}) },
    };
  }

  function draw(chart) {
    const place = document.getElementById(chart.name);
    chart.data.filter((trace) => trace.type === "heatmap").forEach((trace) => { trace.textfont = { color: colour("--text") }; });
    const done = Plotly.newPlot(place, chart.data, themed(chart.layout), { responsive: true, displayModeBar: false });
    if (chart.layout.meta && chart.layout.meta.sheet) pictures(place, chart.layout.meta);
    return done;
  }

  function pictures(place, sheet) {
    const box = document.getElementById("hover");
    place.on("plotly_hover", (event) => {
      const number = event.points[0].customdata;
      if (number === undefined || number < 0) return;
      box.style.backgroundImage = `url(${sheet.sheet})`;
      box.style.backgroundPosition = `${-(number % sheet.columns) * sheet.width}px ${-Math.floor(number / sheet.columns) * sheet.height}px`;
      box.style.width = `${sheet.width + 4}px`;
      box.style.height = `${sheet.height + 4}px`;
      const mouse = event.event || { clientX: 0, clientY: 0 };
      box.style.left = `${Math.min((mouse.clientX || 0) + 16, window.innerWidth - 3 * sheet.width)}px`;
      box.style.top = `${Math.min((mouse.clientY || 0) + 16, window.innerHeight - 3 * sheet.height)}px`;
      box.hidden = false;
    });
    place.on("plotly_unhover", () => { box.hidden = true; });
  }

  const drawn = new Map();
  const waiting = [...charts];
  function next() {
    const chart = waiting.shift();
    if (!chart) { root.dataset.drawn = String(drawn.size); return; }
    Promise.resolve(draw(chart)).then(() => { drawn.set(chart.name, chart); setTimeout(next, 0); });
  }
  next();

  document.querySelectorAll("select[data-chart]").forEach((select) => {
    select.addEventListener("change", () => {
      const chart = charts.find((each) => each.name === select.dataset.chart);
      const place = document.getElementById(chart.name);
      Plotly.restyle(place, { x: chart.axes[select.value] });
      const marks = select.value === Object.keys(chart.axes)[0];
      Plotly.relayout(place, {
        "xaxis.title.text": select.value,
        shapes: marks ? chart.layout.shapes || [] : [],
        annotations: marks ? chart.layout.annotations || [] : [],
      });
    });
  });

  document.querySelectorAll("details").forEach((each) => {
    each.addEventListener("toggle", () => each.querySelectorAll(".plot").forEach((plot) => plot.data && Plotly.Plots.resize(plot)));
  });

  function recolour() {
    for (const name of drawn.keys()) {
      const place = document.getElementById(name);
      const theme = themed({});
      if (place.data[0].type === "heatmap") Plotly.restyle(place, { "textfont.color": theme.font.color });
      Plotly.relayout(place, {
        "font.color": theme.font.color,
        "hoverlabel.bgcolor": theme.hoverlabel.bgcolor,
        "hoverlabel.font.color": theme.font.color,
        ...Object.fromEntries(["xaxis", "yaxis"].flatMap((axis) => ["gridcolor", "zerolinecolor", "linecolor"].map(
          (part) => [`${axis}.${part}`, theme.xaxis[part]]))),
      });
    }
  }
  // On paper nothing can be unfolded, and a chart is as wide as it is told to be.
  const PAPER = 680; // pixels of CSS, of 96 an inch: A4 and Letter less their margins
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((each) => { each.open = true; });
    for (const name of drawn.keys()) Plotly.relayout(name, { width: PAPER });
  });
  window.addEventListener("afterprint", () => {
    for (const name of drawn.keys()) Plotly.relayout(name, { width: null, autosize: true });
  });

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", recolour);
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    recolour();
  });
})();
