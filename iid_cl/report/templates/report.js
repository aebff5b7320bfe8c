"use strict";
/* Charts of the page, drawn from the JSON beside it. Everything is drawn anew when something is chosen. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const shape = ["circle", "rect", "triangle", "rectRot", "rectRounded", "star", "crossRot", "cross"];
  const dashes = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
  const hidden = new Set(); // labels of methods
  const hiddenClasses = new Set();
  const charts = new Map();
  let setting = data.settings[Number(byId("setting")?.value ?? 0)];

  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const methodColour = (number) => css(`--c${number % 8}`);
  const classColour = (number) => css(number % 10 < 8 ? `--c${number % 10}` : `--k${number % 10}`);
  const faint = (colour, share = "2b") => colour + share;
  const visible = () => setting.series.filter((one) => !hidden.has(one.label));
  const percent = (value) => (value === null || value === undefined ? "–" : `${value.toFixed(1)} %`);

  function axis(title, more = {}) {
    const text = css("--soft");
    return {
      title: { display: Boolean(title), text: title, color: text },
      grid: { color: css("--grid") }, border: { color: css("--line") }, ticks: { color: text, ...more.ticks },
      ...Object.fromEntries(Object.entries(more).filter(([key]) => key !== "ticks")),
    };
  }

  function draw(id, config) {
    const canvas = byId(id);
    if (!canvas) return;
    charts.get(id)?.destroy();
    const { plugins = {}, ...options } = config.options;
    charts.set(id, new Chart(canvas, {
      ...config,
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, ...options,
        plugins: {
          ...plugins,
          legend: { display: false, ...plugins.legend },
          tooltip: {
            backgroundColor: css("--text"), titleColor: css("--panel"), bodyColor: css("--panel"), padding: 10,
            usePointStyle: true, ...plugins.tooltip,
          },
        },
      },
    }));
  }

  function style(one) {
    const colour = methodColour(one.number);
    return {
      label: one.label, borderColor: colour, backgroundColor: colour, pointStyle: shape[one.number % shape.length],
      borderWidth: 2, pointRadius: 4, pointHoverRadius: 6,
    };
  }

  /* A line with its band; points are [middle, low, high] or null. */
  function banded(one, points, more = {}) {
    const edge = (place) => ({
      label: one.label, data: points.map((p) => p && p[place]), borderWidth: 0, pointRadius: 0, pointHoverRadius: 0, band: true,
      backgroundColor: faint(methodColour(one.number)),
    });
    const line = { ...style(one), ...more, clip: false, data: points.map((p) => p && p[0]), range: points };
    const flat = points.every((p) => !p || p[1] === p[2]);
    return flat ? [line] : [line, { ...edge(1), fill: false }, { ...edge(2), fill: "-1" }];
  }

  const bandTooltip = {
    filter: (item) => !item.dataset.band,
    callbacks: {
      label: (item) => {
        const p = item.dataset.range?.[item.dataIndex];
        const spread = p && p[1] !== p[2] ? ` (${p[1].toFixed(1)} to ${p[2].toFixed(1)})` : "";
        return ` ${item.dataset.label}: ${percent(item.parsed.y)}${spread}`;
      },
    },
  };
  const near = { mode: "index", intersect: false };

  function drawSeen() {
    draw("chart-seen", {
      type: "line",
      data: { labels: setting.experiences, datasets: visible().flatMap((one) => banded(one, one.seen)) },
      options: {
        interaction: near, plugins: { tooltip: { ...bandTooltip, callbacks: {
          ...bandTooltip.callbacks, title: (items) => (items.length ? `after experience ${items[0].label}` : ""),
        } } },
        scales: { x: axis("after experience", { grid: { display: false } }), y: axis("accuracy, %", { suggestedMax: 100 }) },
      },
    });
  }

  function drawDrops() {
    const shown = visible().filter((one) => one.drops.length);
    const labels = setting.experiences.slice(0, Math.max(0, ...shown.map((one) => one.drops.length)));
    draw("chart-drops", {
      type: "bar",
      data: { labels, datasets: shown.map((one) => ({ ...style(one), borderWidth: 0, data: one.drops })) },
      options: {
        interaction: near, plugins: { tooltip: { callbacks: {
          title: (items) => (items.length ? `experience ${items[0].label}` : ""),
          label: (item) => ` ${item.dataset.label}: ${item.parsed.y.toFixed(1)} points`,
        } } },
        scales: { x: axis("experience", { grid: { display: false } }), y: axis("forgetting, points") },
      },
    });
  }

  function drawClasses() {
    const box = byId("chart-classes-box");
    const least = Math.min(90, ...visible().flatMap((one) => one.classes).filter((value) => value !== null));
    box.style.height = `${70 + setting.classes.length * (setting.classes.length > 30 ? 18 : 26)}px`;
    draw("chart-classes", {
      type: "line",
      data: {
        labels: setting.classes,
        datasets: visible().map((one) => ({ ...style(one), showLine: false, clip: false, pointRadius: 6, pointHoverRadius: 8, data: one.classes })),
      },
      options: {
        indexAxis: "y", interaction: { mode: "index", axis: "y", intersect: false },
        plugins: { tooltip: { callbacks: { label: (item) => ` ${item.dataset.label}: ${percent(item.parsed.x)}` } } },
        scales: {
          x: axis("final accuracy, %", { min: 10 * Math.floor(least / 10), max: 100 }),
          y: axis("", { type: "category", offset: true, ticks: { autoSkip: false } }),
        },
      },
    });
  }

  function drawCost() {
    const shown = visible();
    const phases = ["condensing", "training", "rest (evaluation and more)"];
    const colours = [css("--k9"), css("--phase"), css("--line")];
    draw("chart-seconds", {
      type: "bar",
      data: {
        labels: shown.map((one) => one.label),
        datasets: phases.map((label, i) => ({ label, data: shown.map((one) => one.seconds[i]), backgroundColor: colours[i] })),
      },
      options: {
        indexAxis: "y", interaction: { mode: "index", axis: "y", intersect: false },
        plugins: {
          legend: { display: true, position: "bottom", labels: { color: css("--text"), usePointStyle: true, pointStyle: "rect" } },
          tooltip: { callbacks: { label: (item) => ` ${item.dataset.label}: ${item.parsed.x.toFixed(1)} s` } },
        },
        scales: { x: axis("seconds", { stacked: true }), y: axis("", { stacked: true, grid: { display: false } }) },
      },
    });
    const stored = shown.filter((one) => !one.bound);
    draw("chart-bytes", {
      type: "bar",
      data: {
        labels: stored.map((one) => one.label),
        datasets: [{ label: "bytes", data: stored.map((one) => one.bytes), backgroundColor: stored.map((one) => methodColour(one.number)) }],
      },
      options: {
        indexAxis: "y", interaction: { mode: "index", axis: "y", intersect: false },
        plugins: { tooltip: { callbacks: { label: (item) => ` ${item.parsed.x.toLocaleString("en")} bytes` } } },
        scales: {
          x: axis("bytes", { beginAtZero: true, ticks: { maxTicksLimit: 6, callback: (v) => v.toLocaleString("en") } }),
          y: axis("", { grid: { display: false } }),
        },
      },
    });
  }

  function drawCurves() {
    const names = { ipc: "images per class", mem_size: "images in memory", mem_bytes: "bytes of memory", class_bytes: "bytes per class" };
    data.curves.forEach((curve, i) => {
      const shown = curve.methods.filter((one) => !hidden.has(one.label));
      const points = (one) => one.points.map((p) => p && [p[0], Math.max(0, p[0] - p[1]), Math.min(100, p[0] + p[1])]);
      const bounds = curve.bounds.filter((one) => !hidden.has(one.label)).map((one, j) => ({
        label: one.label, data: curve.budgets.map(() => one.final), borderColor: css("--soft"), backgroundColor: css("--soft"),
        borderDash: dashes[1 + (j % 3)], borderWidth: 1.5, pointRadius: 0,
      }));
      draw(`chart-curve-${i}`, {
        type: "line",
        data: { labels: curve.budgets.map((b) => b.toLocaleString("en")), datasets: [...shown.flatMap((one) => banded(one, points(one))), ...bounds] },
        options: {
          interaction: near, plugins: { tooltip: bandTooltip },
          scales: { x: axis(names[curve.kind] ?? curve.kind, { grid: { display: false } }), y: axis("final accuracy, %") },
        },
      });
    });
  }

  function drawLosses() {
    const one = data.losses[Number(byId("loss-of")?.value ?? 0)];
    if (!one) return;
    const positive = Object.values(one.terms).flat().every((value) => value === null || value > 0);
    draw("chart-losses", {
      type: "line",
      data: {
        datasets: Object.entries(one.terms).map(([label, values], i) => ({
          label, data: one.x.map((x, j) => ({ x, y: values[j] })), borderColor: methodColour(i), backgroundColor: methodColour(i),
          borderDash: dashes[i % dashes.length], borderWidth: 2, pointRadius: 0, pointHoverRadius: 5,
        })),
      },
      options: {
        interaction: near,
        plugins: {
          legend: { display: true, position: "bottom", labels: {
            color: css("--text"), usePointStyle: true, pointStyleWidth: 28,
            generateLabels: (chart) => Chart.defaults.plugins.legend.labels.generateLabels(chart).map((item) => ({
              ...item, pointStyle: "line", lineWidth: 2, lineDash: chart.data.datasets[item.datasetIndex].borderDash,
            })),
          } },
          tooltip: { callbacks: {
            title: (items) => (items.length ? `iteration ${items[0].parsed.x}` : ""),
            label: (item) => ` ${item.dataset.label}: ${item.parsed.y.toPrecision(4)}`,
          } },
        },
        scales: {
          x: axis("iteration", { type: "linear", grid: { display: false }, ticks: { precision: 0 } }),
          y: axis("loss", { type: positive ? "logarithmic" : "linear", ticks: { maxTicksLimit: 7, callback: (v) => Number(v.toPrecision(2)).toString() } }),
        },
      },
    });
  }

  function drawPlane() {
    if (!data.plane) return;
    const classes = data.plane.classes.map((one, i) => ({ ...one, i })).filter((one) => !hiddenClasses.has(one.name));
    const points = (list) => list.map(([x, y]) => ({ x, y }));
    const real = classes.map((one) => ({
      label: `${one.name}, real`, data: points(one.real), pointRadius: 3, pointHoverRadius: 5, borderWidth: 0,
      backgroundColor: faint(classColour(one.i), "80"),
    }));
    const stored = classes.map((one) => ({
      label: `${one.name}, stored`, data: points(one.stored), pointRadius: 8, pointHoverRadius: 10, pointStyle: "rectRot", borderWidth: 2,
      backgroundColor: classColour(one.i), borderColor: css("--text"),
    }));
    const bare = { ticks: { display: false }, grid: { display: false } };
    draw("chart-plane", {
      type: "scatter", data: { datasets: [...stored, ...real] }, // the first ones lie on top
      options: {
        interaction: { mode: "nearest", intersect: true }, layout: { padding: 8 },
        plugins: { tooltip: { callbacks: { label: (item) => ` ${item.dataset.label}` } } },
        scales: { x: axis("", bare), y: axis("", bare) },
      },
    });
  }

  function drawAll() {
    drawSeen(); drawDrops(); drawClasses(); drawCost(); drawCurves(); drawLosses(); drawPlane();
    for (const button of document.querySelectorAll(".toggles button")) button.style.setProperty("--mark", button.colour());
  }

  /* A row of buttons, one for each name, that hide and show. */
  function toggles(id, names, colour, set, changed) {
    const box = byId(id);
    if (!box) return;
    box.replaceChildren(...names.map((name, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.colour = () => colour(i);
      button.setAttribute("aria-pressed", String(!set.has(name)));
      button.addEventListener("click", () => {
        set.has(name) ? set.delete(name) : set.add(name);
        button.setAttribute("aria-pressed", String(!set.has(name)));
        changed();
      });
      return button;
    }));
  }

  function methodToggles() {
    const series = setting.series;
    toggles("methods", series.map((one) => one.label), (i) => methodColour(series[i].number), hidden, () => {
      showTables();
      drawAll();
    });
  }

  function showTables() {
    const labels = new Map(setting.series.map((one) => [String(one.number), one.label]));
    for (const part of document.querySelectorAll(".method")) part.hidden = hidden.has(labels.get(part.dataset.method));
  }

  byId("setting")?.addEventListener("change", (event) => {
    setting = data.settings[Number(event.target.value)];
    for (const part of document.querySelectorAll(".setting")) part.hidden = part.dataset.setting !== event.target.value;
    methodToggles();
    showTables();
    drawAll();
  });

  byId("loss-of")?.addEventListener("change", drawLosses);

  const slider = byId("moment");
  if (slider) {
    const show = () => {
      const last = Number(slider.max);
      const at = Number(slider.value);
      const text = at === 0 ? "0, the start" : at === last ? `${data.moments[at]}, the end` : String(data.moments[at]);
      byId("memory").style.setProperty("--f", String(last ? (100 * at) / last : 100));
      byId("moment-value").textContent = text;
      slider.setAttribute("aria-valuetext", `iteration ${text}`);
    };
    slider.addEventListener("input", show);
    show(); // a browser may keep the slider where it was before a reload
  }

  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.font.size = 13;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => { root.dataset.print = ""; drawAll(); });
  addEventListener("afterprint", () => { delete root.dataset.print; drawAll(); });
  methodToggles();
  toggles("plane-classes", (data.plane?.classes ?? []).map((one) => one.name), classColour, hiddenClasses, drawPlane);
  drawAll();
})();
