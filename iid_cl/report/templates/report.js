"use strict";
/* Charts of the page, drawn from the JSON beside it. Each choice redraws everything. */
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
  const visible = () => setting.series.filter((method) => !hidden.has(method.label));
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

  function style(method) {
    const colour = methodColour(method.number);
    return {
      label: method.label, borderColor: colour, backgroundColor: colour, pointStyle: shape[method.number % shape.length],
      borderWidth: 2, pointRadius: 4, pointHoverRadius: 6,
    };
  }

  /* A line with its band; points are [middle, low, high] or null. */
  function banded(method, points, more = {}) {
    const edge = (place) => ({
      label: method.label, data: points.map((p) => p && p[place]), borderWidth: 0, pointRadius: 0, pointHoverRadius: 0, band: true,
      backgroundColor: faint(methodColour(method.number)),
    });
    const line = { ...style(method), ...more, clip: false, data: points.map((p) => p && p[0]), range: points };
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
      data: { labels: setting.experiences, datasets: visible().flatMap((method) => banded(method, method.seen)) },
      options: {
        interaction: near, plugins: { tooltip: { ...bandTooltip, callbacks: {
          ...bandTooltip.callbacks, title: (items) => (items.length ? `after experience ${items[0].label}` : ""),
        } } },
        scales: { x: axis("after experience", { grid: { display: false } }), y: axis("accuracy, %", { suggestedMax: 100 }) },
      },
    });
  }

  function drawDrops() {
    const methods = visible().filter((method) => method.drops.length);
    const labels = setting.experiences.slice(0, Math.max(0, ...methods.map((method) => method.drops.length)));
    draw("chart-drops", {
      type: "bar",
      data: { labels, datasets: methods.map((method) => ({ ...style(method), borderWidth: 0, data: method.drops })) },
      options: {
        interaction: near, plugins: { tooltip: { callbacks: {
          title: (items) => (items.length ? `experience ${items[0].label}` : ""),
          label: (item) => ` ${item.dataset.label}: ${item.parsed.y.toFixed(1)} points`,
        } } },
        scales: { x: axis("experience", { grid: { display: false } }), y: axis("forgetting, points") },
      },
    });
  }

  /* Marks of a class that would lie on each other get lanes: [lane of each value, number of lanes]. */
  function lanes(values, room) {
    const order = values.map((value, i) => [value, i]).filter(([value]) => value !== null).sort((a, b) => a[0] - b[0]);
    const ends = [];
    const lane = values.map(() => 0);
    for (const [value, i] of order) {
      let free = ends.findIndex((end) => value - end >= room);
      if (free < 0) free = ends.push(0) - 1;
      ends[free] = value;
      lane[i] = free;
    }
    return [lane, Math.max(1, ends.length)];
  }

  function drawClasses() {
    const box = byId("chart-classes-box");
    const methods = visible().filter((method) => method.classes.some((value) => value !== null));
    const least = Math.min(90, ...methods.flatMap((method) => method.classes).filter((value) => value !== null));
    const from = 10 * Math.floor(least / 10);
    const room = (16 * (100 - from)) / Math.max(120, box.clientWidth - 120); // a mark's width, in points
    const rows = setting.classes.map((_, c) => lanes(methods.map((method) => method.classes[c]), room));
    const step = 14;
    let end = 0;
    const centres = rows.map(([, count]) => (end += step * count + 12) - (step * count + 12) / 2);
    box.style.height = `${70 + end}px`;
    const y = (c, i) => centres[c] + step * (rows[c][0][i] - (rows[c][1] - 1) / 2);
    const joined = { id: "joined", beforeDatasetsDraw: (chart) => {
      const { ctx, scales } = chart;
      ctx.save();
      ctx.lineWidth = 2;
      ctx.strokeStyle = css("--line");
      setting.classes.forEach((_, c) => {
        const values = methods.map((method) => method.classes[c]).filter((value) => value !== null);
        if (values.length < 2) return;
        ctx.beginPath();
        ctx.moveTo(scales.x.getPixelForValue(Math.min(...values)), scales.y.getPixelForValue(centres[c]));
        ctx.lineTo(scales.x.getPixelForValue(Math.max(...values)), scales.y.getPixelForValue(centres[c]));
        ctx.stroke();
      });
      ctx.restore();
    } };
    draw("chart-classes", {
      type: "scatter", plugins: [joined],
      data: { datasets: methods.map((method, i) => ({
        ...style(method), clip: false, pointRadius: 6, pointHoverRadius: 8,
        data: method.classes.flatMap((value, c) => (value === null ? [] : [{ x: value, y: y(c, i), c }])),
      })) },
      options: {
        interaction: { mode: "nearest", intersect: true },
        plugins: { tooltip: { callbacks: {
          title: (items) => (items.length ? setting.classes[items[0].raw.c] : ""),
          label: (item) => ` ${item.dataset.label}: ${percent(item.parsed.x)}`,
        } } },
        scales: {
          x: axis("final accuracy, %", { min: from, max: 100 }),
          y: axis("", {
            min: 0, max: Math.max(1, end), reverse: true, grid: { display: false },
            afterBuildTicks: (scale) => { scale.ticks = centres.map((value) => ({ value })); },
            ticks: { autoSkip: false, callback: (_, c) => setting.classes[c] },
          }),
        },
      },
    });
  }

  function drawCost() {
    const methods = visible();
    const phases = ["condensing", "training", "rest (evaluation and more)"];
    const colours = [css("--k9"), css("--phase"), css("--line")];
    draw("chart-seconds", {
      type: "bar",
      data: {
        labels: methods.map((method) => method.label),
        datasets: phases.map((label, i) => ({ label, data: methods.map((method) => method.seconds[i]), backgroundColor: colours[i] })),
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
    byId("bytes-drawn").hidden = setting.sameBytes !== null;
    byId("bytes-same").hidden = setting.sameBytes === null;
    byId("bytes-same").textContent = setting.sameBytes ?? "";
    const stored = methods.filter((method) => !method.bound);
    draw("chart-bytes", {
      type: "bar",
      data: {
        labels: stored.map((method) => method.label),
        datasets: [{ label: "bytes", data: stored.map((method) => method.bytes), backgroundColor: stored.map((method) => methodColour(method.number)) }],
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
      const methods = curve.methods.filter((method) => !hidden.has(method.label));
      const points = (method) => method.points.map((p) => p && [p[0], Math.max(0, p[0] - p[1]), Math.min(100, p[0] + p[1])]);
      const bounds = curve.bounds.filter((bound) => !hidden.has(bound.label)).map((bound, j) => ({
        label: bound.label, data: curve.budgets.map(() => bound.final), borderColor: css("--soft"), backgroundColor: css("--soft"),
        borderDash: dashes[1 + (j % 3)], borderWidth: 1.5, pointRadius: 0,
      }));
      draw(`chart-curve-${i}`, {
        type: "line",
        data: { labels: curve.budgets.map((b) => b.toLocaleString("en")), datasets: [...methods.flatMap((method) => banded(method, points(method))), ...bounds] },
        options: {
          interaction: near, plugins: { tooltip: bandTooltip },
          scales: { x: axis(names[curve.kind] ?? curve.kind, { grid: { display: false } }), y: axis("final accuracy, %") },
        },
      });
    });
  }

  /* Ticks of a logarithmic axis: 1, 2 and 5 of each decade, or its powers of ten alone if there are many. */
  function logTicks(scale) {
    const low = Math.floor(Math.log10(scale.min));
    const high = Math.ceil(Math.log10(scale.max));
    const steps = high - low > 3 ? [1] : [1, 2, 5];
    const skip = Math.max(1, Math.ceil((high - low) / 8));
    const values = [];
    for (let power = low; power <= high; power += skip) for (const step of steps) values.push(step * 10 ** power);
    const inside = values.filter((value) => value >= scale.min * 0.999 && value <= scale.max * 1.001);
    scale.ticks = (inside.length > 1 ? inside : [scale.min, scale.max]).map((value) => ({ value }));
  }

  function drawLosses() {
    const part = data.losses[Number(byId("loss-of")?.value ?? 0)];
    if (!part) return;
    const positive = Object.values(part.terms).flat().every((value) => value === null || value > 0);
    draw("chart-losses", {
      type: "line",
      data: {
        datasets: Object.entries(part.terms).map(([label, values], i) => ({
          label, data: part.x.map((x, j) => ({ x, y: values[j] })), borderColor: methodColour(i), backgroundColor: methodColour(i),
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
          y: axis(positive ? "loss, logarithmic" : "loss", {
            type: positive ? "logarithmic" : "linear", ...(positive && { afterBuildTicks: logTicks }),
            ticks: { autoSkip: !positive, callback: (v) => Number(v.toPrecision(2)).toString() },
          }),
        },
      },
    });
  }

  function drawPlane() {
    if (!data.plane) return;
    const classes = data.plane.classes.map((group, i) => ({ ...group, i })).filter((group) => !hiddenClasses.has(group.name));
    const points = (list) => list.map(([x, y]) => ({ x, y }));
    const real = classes.map((group) => ({
      label: `${group.name}, real`, data: points(group.real), pointRadius: 3, pointHoverRadius: 5, borderWidth: 0,
      backgroundColor: faint(classColour(group.i), "80"),
    }));
    const stored = classes.map((group) => ({
      label: `${group.name}, stored`, data: points(group.stored), pointRadius: 8, pointHoverRadius: 10, pointStyle: "rectRot", borderWidth: 2,
      backgroundColor: classColour(group.i), borderColor: css("--text"),
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

  /* A row of buttons, one per name, that hide and show. */
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
    toggles("methods", series.map((method) => method.label), (i) => methodColour(series[i].number), hidden, () => {
      showTables();
      drawAll();
    });
  }

  function showTables() {
    const labels = new Map(setting.series.map((method) => [String(method.number), method.label]));
    for (const part of document.querySelectorAll(".method")) part.hidden = hidden.has(labels.get(part.dataset.method));
  }

  function choose(number) {
    setting = data.settings[number];
    byId("setting").value = String(number);
    for (const part of document.querySelectorAll(".setting")) part.hidden = part.dataset.setting !== String(number);
    methodToggles();
    showTables();
    drawAll();
  }

  byId("setting")?.addEventListener("change", (event) => choose(Number(event.target.value)));

  /* report.html#setting-2 is the page of the second setting. */
  function chooseByAddress() {
    const number = Number(/^#setting-(\d+)$/.exec(location.hash)?.[1] ?? 0);
    if (!byId("setting") || number < 1 || number > data.settings.length) return;
    choose(number - 1);
    byId("headline").scrollIntoView();
  }
  addEventListener("hashchange", chooseByAddress);

  /* A table that is wider than its box says that it scrolls. */
  const boxes = document.querySelectorAll(".scroll");
  const measured = new ResizeObserver((entries) => {
    for (const { target } of entries) target.toggleAttribute("data-scrolls", target.scrollWidth > target.clientWidth + 1);
  });
  for (const box of boxes) measured.observe(box);

  /* An image, enlarged, with the moments of its distillation. */
  const dialog = byId("zoomed");
  let opened = null;
  function part(button, row, text, large) {
    const figure = document.createElement("figure");
    const tile = document.createElement("i");
    const caption = document.createElement("figcaption");
    tile.className = `tile ${button.dataset.sheet}${large ? " large" : ""}`;
    tile.style.setProperty("--x", button.firstElementChild.style.getPropertyValue("--x"));
    tile.style.backgroundPositionY = `${button.dataset.rows > 1 ? (100 * row) / (button.dataset.rows - 1) : 0}%`;
    caption.textContent = text;
    figure.append(tile, caption);
    return figure;
  }
  function enlarge(button) {
    opened = button;
    const last = Number(button.dataset.rows) - 1;
    const stages = last ? data.moments.map((moment, row) => [row, row ? `iteration ${moment}` : "real image at the start"]) : [[0, "as stored"]];
    byId("zoomed-title").textContent = button.getAttribute("aria-label").replace("Enlarge ", "");
    const ends = last ? [stages[0], [last, "distilled, as stored"]] : stages;
    byId("zoomed-stages").replaceChildren(
      ...ends.map(([row, text]) => part(button, row, text, true)), ...(last > 1 ? stages.slice(1, -1).map(([row, text]) => part(button, row, text, false)) : []),
    );
    if (!dialog.open) dialog.showModal();
  }
  function step(by) {
    const all = [...document.querySelectorAll(".zoom")].filter((one) => one.checkVisibility());
    const next = all[(all.indexOf(opened) + by + all.length) % all.length];
    if (next) enlarge(next);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".zoom");
    if (button) enlarge(button);
    if (event.target === dialog) dialog.close();
  });
  if (dialog) {
    byId("zoomed-close").addEventListener("click", () => dialog.close());
    byId("zoomed-before").addEventListener("click", () => step(-1));
    byId("zoomed-after").addEventListener("click", () => step(1));
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
    dialog.addEventListener("close", () => opened?.focus());
  }

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
  toggles("plane-classes", (data.plane?.classes ?? []).map((group) => group.name), classColour, hiddenClasses, drawPlane);
  drawAll();
  chooseByAddress();
})();
