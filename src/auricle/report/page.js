"use strict";
// Draws the figures of the page in the reader's theme, and plays clips. No network, no state beyond the page.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const clips = JSON.parse(document.getElementById("clips").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // On a phone, titles and row names are broken into lines: plotly would cut them at the figure's edge.
  const NARROW = 480;
  const broken = (text) => (text ?? "").split(" ").reduce((lines, word) => {
    const last = lines.at(-1);
    return last && last.length + word.length < 20 ? [...lines.slice(0, -1), `${last} ${word}`] : [...lines, word];
  }, []).join("<br>");
  const narrowed = (layout, width) => {
    for (const axis of [layout.xaxis, layout.yaxis]) if (axis.title?.text) axis.title.text = broken(axis.title.text);
    if (layout.yaxis.ticktext?.some((name) => name.includes(" · "))) {
      layout.yaxis.ticktext = layout.yaxis.ticktext.map((name) => name.replaceAll(" · ", "<br>"));
      layout.height = Math.round(1.25 * layout.height);
    }
    layout.yaxis.tickfont.size = 10;
    if (layout.yaxis.scaleanchor) layout.height = Math.min(layout.height, Math.round(1.2 * width));
  };

  const themed = (figure, width) => {
    const ink = colour("--ink"), quiet = colour("--quiet"), line = colour("--line"), soft = colour("--soft");
    const layout = structuredClone(figure.layout);
    Object.assign(layout, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      font: { family: "system-ui, sans-serif", size: 12, color: ink },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: quiet, activecolor: ink },
      hoverlabel: { bgcolor: colour("--paper"), bordercolor: line, font: { color: ink } },
    });
    for (const name of ["xaxis", "yaxis"]) {
      layout[name] = Object.assign(
        { gridcolor: line, zerolinecolor: line, linecolor: line, tickfont: { color: quiet }, automargin: true, exponentformat: "e" },
        layout[name],
      );
    }
    if (width < NARROW) narrowed(layout, width);
    const data = structuredClone(figure.data);
    for (const trace of data) {
      if (trace.marker?.line?.color === "ring") trace.marker.line.color = ink;
      if (trace.type !== "heatmap") continue;
      trace.colorscale = dark.matches
        ? [[0, soft], [0.5, "#3f62b8"], [1, "#a9c2ff"]]
        : [[0, soft], [0.5, "#7f9fe6"], [1, "#1f46a8"]];
    }
    return { data, layout };
  };

  const draw = (place) => {
    const { data, layout } = themed(figures[place.dataset.figure], place.clientWidth);
    place.style.minHeight = `${layout.height}px`;
    const drawn = Plotly.react(place, data, layout, {
      displaylogo: false, responsive: true, modeBarButtons: [["pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
      displayModeBar: place.dataset.map !== undefined,
    });
    place.dataset.drawn = "yes";
    if (place.dataset.map !== undefined && !place.dataset.bound) {
      place.dataset.bound = "yes";
      drawn.then(() => place.on("plotly_click", (event) => choose(place, event.points[0].customdata)));
    }
  };

  const choose = (place, point) => {
    const panel = document.getElementById(place.dataset.map);
    const clip = point.clip === null ? null : clips[place.dataset.clips][point.clip];
    panel.querySelector(".name").textContent = point.label;
    panel.querySelector(".file").textContent = point.file;
    const seen = panel.querySelector(".seen"), sound = panel.querySelector("audio"), hint = panel.querySelector(".hint");
    seen.hidden = sound.hidden = clip === null;
    hint.hidden = clip !== null;
    hint.textContent = "The audio of this clip is not in the page. Ringed points can be played.";
    sound.pause();
    if (clip === null) return;
    const picture = document.querySelector(`.spectrogram img[data-clip="${place.dataset.clips}:${point.clip}"]`);
    seen.hidden = !picture;
    if (picture) seen.replaceChildren(picture.closest(".spectrogram").cloneNode(true));
    sound.src = clip.audio;
    sound.play().catch(() => { hint.hidden = false; hint.textContent = "Press play: the browser blocked automatic playback."; });
  };

  // Figures near the screen are drawn first, the others while the page is idle: a page with many of them opens at once,
  // and is whole for print. What is folded has no width yet, and is drawn when it is unfolded.
  const missing = () => [...document.querySelectorAll(".figure:not([data-drawn])")].filter((place) => place.clientWidth);
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting && !entry.target.dataset.drawn) draw(entry.target);
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll(".figure").forEach((place) => watcher.observe(place));
  const idle = window.requestIdleCallback ?? ((call) => setTimeout(call, 20));
  const drawNext = () => {
    const [place] = missing();
    if (!place) return;
    draw(place);
    idle(drawNext);
  };
  idle(drawNext);
  // On paper nothing can be unfolded.
  let unfolded = [];
  window.addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open])")].filter((part) => part.querySelector(".figure"));
    unfolded.forEach((part) => { part.open = true; });
    missing().forEach(draw);
  });
  window.addEventListener("afterprint", () => unfolded.forEach((part) => { part.open = false; }));
  dark.addEventListener("change", () => document.querySelectorAll(".figure[data-drawn]").forEach(draw));

  document.querySelectorAll("select.choose").forEach((menu) => menu.addEventListener("change", () => {
    const place = menu.closest(".switch").querySelector(".figure");
    place.dataset.figure = menu.value;
    draw(place);
  }));

  document.querySelectorAll("select.highlight").forEach((menu) => menu.addEventListener("change", () => {
    const place = menu.closest(".drawn").querySelector(".figure");
    const trace = figures[place.dataset.figure].data[0];
    const base = trace.base ??= { color: trace.marker.color, opacity: trace.marker.opacity };
    const has = trace.customdata.map((point) => point.labels.includes(menu.value));
    trace.marker.color = menu.value ? has.map((yes) => (yes ? "#e8833a" : "#8c95a3")) : base.color;
    trace.marker.opacity = menu.value ? has.map((yes) => (yes ? 1 : 0.3)) : base.opacity;
    draw(place);
  }));

  document.querySelectorAll("img[data-clip], audio[data-clip]").forEach((part) => {
    const [group, index] = part.dataset.clip.split(":");
    part.src = part.tagName === "IMG" ? clips[group][index].image : clips[group][index].audio;
  });
  document.querySelectorAll("audio").forEach((sound) => sound.addEventListener("play", () => {
    document.querySelectorAll("audio").forEach((other) => { if (other !== sound) other.pause(); });
  }));

  // A line moves over spectrogram and events with the sound.
  document.querySelectorAll(".timeline").forEach((part) => {
    const track = part.querySelector(".track"), sound = part.querySelector("audio"), head = part.querySelector(".playhead");
    if (!track || !sound) return;
    const { seconds, left, right } = track.dataset;
    const move = () => {
      const room = track.clientWidth - left - right;
      head.hidden = sound.currentTime > seconds;
      head.style.left = `${Number(left) + room * sound.currentTime / seconds}px`;
      if (!sound.paused) requestAnimationFrame(move);
    };
    sound.addEventListener("play", move);
    sound.addEventListener("seeked", move);
  });

  // A number's link leads into folded provenance: unfold what it points to.
  const unfold = () => {
    let target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (target) target.scrollIntoView();
  };
  window.addEventListener("hashchange", unfold);
  unfold();
})();
