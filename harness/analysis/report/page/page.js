"use strict";
// Draws every figure of the page, switches their axis, and follows the reader's light or dark setting.
const page = JSON.parse(document.getElementById("figures").textContent);
const plots = [...document.querySelectorAll(".plot")];
const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const style = getComputedStyle(document.documentElement);
  const [ink, grid, rule] = ["--ink", "--grid", "--rule"].map((name) => style.getPropertyValue(name).trim());
  const lines = { gridcolor: grid, linecolor: rule, zerolinecolor: rule };
  return { ink, lines };
}

function dressed(layout) {
  const { ink, lines } = theme();
  // On a phone the legend takes two columns of small type, and the figure grows by its rows.
  const small = innerWidth < 640 ? { font: { size: 10 }, entrywidthmode: "fraction", entrywidth: 0.46 } : {};
  return {
    ...layout, autosize: true, legend: { ...layout.legend, ...small }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink, family: "system-ui, sans-serif", size: 13 },
    xaxis: { ...layout.xaxis, ...lines }, yaxis: { ...layout.yaxis, ...lines },
  };
}

function draw(plot) {
  const spec = page.figures[plot.dataset.figure];
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
  return Plotly.newPlot(plot, spec.data, dressed(spec.layout), config);
}

function switchAxis(name) {
  const axis = page.axes.find((each) => each.name === name);
  for (const plot of plots) {
    const spec = page.figures[plot.dataset.figure];
    if (!spec.data.some((trace) => trace.meta && trace.meta.axes)) continue;
    for (const trace of spec.data) trace.x = trace.meta.axes[name] || [];
    Object.assign(spec.layout.xaxis, axis.layout);
    if (plot.closest(".multiples")) spec.layout.xaxis.title = { text: "" };
    for (const shape of spec.layout.shapes) shape.x0 = shape.x1 = axis.gap;
    Plotly.react(plot, spec.data, dressed(spec.layout));
  }
}

for (const select of document.querySelectorAll("select.axes"))
  select.addEventListener("change", () => switchAxis(select.value));
dark.addEventListener("change", () =>
  plots.forEach((plot) => Plotly.react(plot, page.figures[plot.dataset.figure].data,
    dressed(page.figures[plot.dataset.figure].layout))));
Promise.all(plots.map(draw)).then(() => document.body.setAttribute("data-drawn", plots.length));
