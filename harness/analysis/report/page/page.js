"use strict";
// Draws every figure of the page, switches their axis, and follows the reader's width and light or dark setting.
const plots = [...document.querySelectorAll(".plot")];
const dark = matchMedia("(prefers-color-scheme: dark)");
let page, axes, axis;

// The page's data: JSON, compressed, as base64.
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, grid, rule] = ["--ink", "--soft", "--grid", "--rule"]
    .map((name) => style.getPropertyValue(name).trim());
  const { axis, legend, title, ...rest } = page.config;
  const lines = { gridColor: grid, domainColor: rule, tickColor: rule, labelColor: ink, titleColor: ink };
  return {
    ...rest, background: "transparent", font: "system-ui, sans-serif",
    axis: { ...axis, ...lines }, legend: { ...legend, labelColor: ink, titleColor: soft }, title: { ...title, color: ink },
  };
}

// On a phone fewer entries of a legend stand beside one another (as legend_of in chart_style.py).
function fitLegend(channel, width) {
  const labels = channel.scale?.domain;
  if (!channel.legend || !labels?.length) return channel;
  const longest = Math.max(...labels.map((label) => String(label).length));
  const room = width - 28; // a legend begins where the plot does, right of the axis
  const columns = Math.max(1, Math.min(labels.length, Math.floor(room / (6.2 * longest + 34))));
  return { ...channel, legend: { ...channel.legend, columns, labelLimit: room } };
}

function onAxis(channel) {
  if (!axes.has(channel.field)) return channel;
  const { x, title } = axes.get(axis);
  if (!channel.scale) return { ...channel, field: axis, title };
  return channel.axis?.title === null ? { ...x, axis: { ...x.axis, title: null } } : x;
}

function placed(spec, width) {
  const view = { ...spec };
  if (spec.layer) view.layer = spec.layer.map((each) => placed(each, width));
  if (spec.encoding) {
    view.encoding = { ...spec.encoding };
    if (spec.encoding.x) view.encoding.x = onAxis(spec.encoding.x);
    if (Array.isArray(spec.encoding.tooltip)) view.encoding.tooltip = spec.encoding.tooltip.map(onAxis);
    for (const name of ["color", "shape", "strokeDash", "fill"])
      if (spec.encoding[name]) view.encoding[name] = fitLegend(spec.encoding[name], width);
  }
  return view;
}

async function draw(plot) {
  const spec = page.figures[plot.dataset.figure];
  const width = plot.clientWidth;
  const fitted = { ...placed(spec, width), width: "container", autosize: { type: "fit-x", contains: "padding" } };
  const options = { mode: "vega-lite", actions: false, renderer: "svg", config: theme(), tooltip: { theme: dark.matches ? "dark" : "light" } };
  plot.view?.finalize();
  plot.view = (await vegaEmbed(plot.firstElementChild, fitted, options)).view;
  plot.drawnWidth = width;
}

// What is folded is drawn once it is opened.
const isFolded = (plot) => plot.closest("details:not([open])") !== null;
const isStale = (plot) => !isFolded(plot) && plot.clientWidth !== plot.drawnWidth;

async function drawOnceSeen(plot) {
  if (isFolded(plot)) plot.drawnWidth = undefined;
  else await draw(plot);
}

async function drawAll() {
  for (const plot of plots) await drawOnceSeen(plot);
  document.body.dataset.drawn = axis ?? "";
}

let waiting;
function later() {
  clearTimeout(waiting);
  waiting = setTimeout(() => plots.some(isStale) && drawAll(), 200);
}

async function start() {
  page = await unpacked(document.getElementById("figures").textContent);
  axes = new Map(page.axes.map((each) => [each.name, each]));
  axis = page.axes[0]?.name;
  for (const select of document.querySelectorAll("select.axes"))
    select.addEventListener("change", () => { axis = select.value; drawAll(); });
  for (const details of document.querySelectorAll("details"))
    details.addEventListener("toggle", async () => {
      for (const plot of details.querySelectorAll(".plot")) if (isStale(plot)) await draw(plot);
    });
  dark.addEventListener("change", drawAll);
  addEventListener("resize", later);
  await drawAll();
}
start().catch((error) => {
  const note = document.createElement("p");
  note.textContent = `This browser cannot draw the figures (${error.message}): a newer one does. Those of a study lie as PNG and PDF in the folder figures.`;
  document.querySelector("main").prepend(note);
  document.body.dataset.drawn = "none";
});
