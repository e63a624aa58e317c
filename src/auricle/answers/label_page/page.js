"use strict";
// The page of `auricle label`. Text of files and labels is only ever set as text, never as markup.
(() => {
  const $ = (id) => document.getElementById(id);
  // Of this tab of the browser: it stays where the page is loaded again, so that undo goes on.
  const tab = (() => {
    const made = Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    try {
      sessionStorage.tab ??= made;
      return sessionStorage.tab;
    } catch {
      return made;
    }
  })();
  const audio = $("audio");
  const mine = new Map(); // row -> classes, as this tab labelled it
  let state = null; // of the server, as last seen
  let shown = null; // the segment on the page
  let chosen = new Set(); // classes to be saved together
  let several = false; // whether keys and buttons mark classes, and another one saves
  let busy = false;
  let ranks = new Map(); // row -> rank before the last fit
  let until = null; // where playing ends, in seconds of the sound
  let loaded = null; // the segment whose sound is there
  let wanted = null; // what to play as soon as it is: [with context, from]

  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const percent = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);
  const counted = (number, noun, many = `${noun}s`) => `${number.toLocaleString("en")} ${number === 1 ? noun : many}`;
  const clock = (seconds) => {
    const whole = Math.floor(seconds + 1e-6), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    const rest = (seconds - 60 * Math.floor(whole / 60)).toFixed(1).padStart(4, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  };
  const said = (classes) => (classes === null ? "skipped" : classes.length ? classes.join(" + ") : nothing());
  const nothing = () => (state.classes.length === 1 ? `no ${state.classes[0]}` : "none of them");
  const current = () => $("class").value || (state?.classes[0] ?? "");
  const way = () => document.querySelector("input[name=way]:checked").value;

  const say = (text, bad = false, key = text) => {
    for (const old of $("messages").children) if (old.dataset.key === key) old.remove();
    const line = element("div", undefined, bad ? "message bad" : "message");
    const close = element("button", "Close");
    close.type = "button";
    close.onclick = () => line.remove();
    line.dataset.key = key;
    line.append(element("span", text), close);
    $("messages").append(line);
    while ($("messages").children.length > 4) $("messages").firstChild.remove();
  };
  const unsay = (key) => { for (const old of [...$("messages").children]) if (old.dataset.key === key) old.remove(); };

  const call = async (name, values, post = false) => {
    let response;
    try {
      response = post
        ? await fetch(name, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values) })
        : await fetch(`${name}?${new URLSearchParams(values)}`);
    } catch {
      throw new Error("The server does not answer: what you just did was not saved. Start `auricle label` again; all labels that it confirmed are kept.");
    }
    const data = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
    if (data.error) throw new Error(data.error);
    unsay("failed");
    return data;
  };
  const guarded = (action) => async (...values) => {
    if (busy) return;
    busy = true;
    try {
      await action(...values);
    } catch (error) {
      say(error.message, true, "failed");
    } finally {
      busy = false;
    }
  };

  // Not guarded: a key that is pressed meanwhile must count.
  const later = (promise) => promise.catch((error) => say(error.message, true, "failed"));

  // The segment

  const WHY = {
    held_out: "random sample", margin: "uncertain", similar: "similar", highest: "from the ranking", random: "random", first: "asked for",
  };
  const show = (segment) => {
    stop();
    shown = segment;
    loaded = null;
    wanted = $("autoplay").checked ? [false] : null;
    chosen = new Set();
    several = false;
    $("segment").hidden = !segment;
    $("finished").hidden = Boolean(segment);
    if (!segment) return;
    $("file").textContent = segment.file;
    $("why").textContent = segment.held_out && segment.origin !== "held_out" ? "held out" : WHY[segment.origin];
    $("why").className = segment.held_out ? "badge held" : "badge";
    $("why").title = segment.held_out ? "Held out: detectors are scored on it, never trained on it" : "";
    $("time").textContent = `${clock(segment.start)} – ${clock(segment.end)}${segment.slowed > 1 ? `, played ${segment.slowed} times slower` : ""}`;
    const scores = state.classes.filter((name) => name in segment.scores).map((name) => `${name} ${segment.scores[name].toFixed(2)}`);
    // A score beside a segment of the sample would lead the listener.
    $("score").textContent = scores.length && !segment.held_out ? ` · score ${scores.join(", ")}` : "";
    $("broken").hidden = !segment.broken;
    $("sound").hidden = Boolean(segment.broken);
    if (segment.broken) $("broken").textContent = `This recording can't be played: ${segment.broken}`;
    keys();
    rankMarks();
    if (!segment.broken) later(load(segment));
  };
  const load = async (segment) => {
    const at = (time) => (100 * (time - segment.begin)) / segment.seconds;
    // The picture of the last segment must not stand in for this one while it is on its way.
    $("image").style.visibility = "hidden";
    $("image").onload = () => { $("image").style.visibility = "visible"; };
    $("image").src = `picture/${segment.row}.png`;
    $("image").alt = `spectrogram of ${segment.file}`;
    const before = Math.max(0, at(segment.start)), after = Math.max(0, 100 - at(segment.end));
    $("before").style.width = `${before}%`;
    $("after").style.width = `${after}%`;
    $("before").classList.toggle("none", before < 0.5);
    $("after").classList.toggle("none", after < 0.5);
    $("around").hidden = before + after < 1;
    $("bands").replaceChildren(...segment.ticks.map(([height, text]) => {
      const tick = element("span", text);
      tick.style.bottom = `${100 * height}%`;
      return tick;
    }));
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300].find((each) => segment.seconds / each <= 6) ?? segment.seconds;
    const ticks = [];
    for (let time = Math.ceil(segment.begin / step - 1e-6) * step; time <= segment.begin + 0.93 * segment.seconds; time += step) {
      const tick = element("span", `${+time.toFixed(2)}`);
      tick.style.left = `${at(time)}%`;
      ticks.push(tick);
    }
    const unit = element("span", "s");
    unit.style.left = "100%";
    $("times").replaceChildren(...ticks, unit);
    const response = await fetch(`sound/${segment.row}.wav`);
    const sound = await response.blob();
    if (shown !== segment || !response.ok) return;
    if (audio.src) URL.revokeObjectURL(audio.src);
    audio.src = URL.createObjectURL(sound);
    loaded = segment;
    if (wanted) play(...wanted);
  };
  const stop = () => { audio.pause(); $("playhead").hidden = true; };
  const play = (context, from) => {
    if (!shown || shown.broken) return;
    wanted = loaded === shown ? null : [context, from];
    if (wanted) return;
    until = context || from !== undefined ? Infinity : shown.slowed * (shown.end - shown.begin);
    audio.currentTime = shown.slowed * (from ?? (context ? 0 : shown.start - shown.begin));
    audio.play().catch(() => say("The browser blocked playback: press Play.", false, "blocked"));
    requestAnimationFrame(follow);
  };
  const follow = () => {
    if (audio.paused || audio.ended || !shown) { $("playhead").hidden = true; return; }
    if (audio.currentTime >= until) { stop(); return; }
    $("playhead").hidden = false;
    $("playhead").style.left = `${(100 * audio.currentTime) / (shown.seconds * shown.slowed)}%`;
    requestAnimationFrame(follow);
  };
  const toggle = (context) => (audio.paused ? play(context) : stop());

  const keys = () => {
    const buttons = state.classes.map((name, place) => {
      const button = element("button");
      button.type = "button";
      button.append(element("kbd", String(place + 1)), element("span", name), element("span", String(state.counts[name]), "count"));
      button.classList.toggle("chosen", chosen.has(name) || (!chosen.size && !several && Boolean(shown?.label?.classes?.includes(name))));
      button.onclick = (event) => (event.shiftKey || several ? add(name) : save([...chosen, name]));
      return button;
    });
    const none = element("button");
    none.type = "button";
    none.append(element("kbd", "0"), element("span", nothing()), element("span", String(state.background), "count"));
    none.classList.toggle("chosen", Boolean(shown?.label && shown.label.classes?.length === 0));
    none.onclick = () => save([]);
    $("keys").replaceChildren(...buttons, none);
    $("skip").classList.toggle("chosen", Boolean(shown?.label && shown.label.classes === null));
    const label = shown?.label ? `Labelled ${said(shown.label.classes)}; another key replaces it. ` : "";
    const marks = several ? "Mark every class that is there, then save." : state.classes.length < 2 ? "" : chosen.size
      ? "Enter saves what is marked." : "Shift and a digit mark several classes.";
    $("hint").textContent = label + marks;
    $("several").hidden = state.classes.length < 2;
    $("several").classList.toggle("chosen", several);
    $("several").querySelector("span").textContent = !several ? "Several classes" : chosen.size ? "Save" : "One class";
  };
  const mark = () => {
    if (state.classes.length < 2) return;
    if (several && chosen.size) { save([...chosen]); return; }
    several = !several;
    chosen = new Set(several ? shown?.label?.classes ?? [] : []);
    keys();
  };
  const add = (name) => { if (!chosen.delete(name)) chosen.add(name); keys(); };

  // What a user does

  const ask = (more = {}) => ({ tab, class: current(), threshold: $("threshold").value, ...more });
  const next = async () => show((await call("next", ask({ way: way() }))).segment);
  const save = guarded(async (classes) => {
    if (!shown) return;
    const labels = classes === null ? null : state.classes.filter((name) => classes.includes(name));
    const segment = shown;
    const answer = await call("label", {
      row: segment.row, labels, origin: segment.origin, tab, seen: segment.label?.number ?? 0,
    }, true);
    mine.set(segment.row, labels);
    if (answer.replaced) say(`Another tab had labelled this segment “${said(answer.replaced.classes)}”. Your label counts now; U undoes it.`);
    await next();
    later(answer.due ? fit() : refresh());
  });
  const undo = guarded(async () => {
    const { segment } = await call("undo", { tab }, true);
    if (!segment) { say("There is nothing of this tab to undo.", false, "undo"); return; }
    mine.delete(segment.row);
    show(segment);
    later(refresh());
  });
  const fit = async () => {
    if ($("fit").disabled) return;
    $("fit").disabled = true;
    try {
      ranks = new Map(state.ranking.map((each, rank) => [each.row, rank]));
      update(await call("fit", ask({ since: state.last }), true));
    } finally {
      $("fit").disabled = false;
    }
  };
  const write = guarded(async () => {
    const { lines } = await call("export", { tab }, true);
    $("exported").replaceChildren(...lines.flatMap((line, place) => (place ? [element("br"), line] : [line])));
  });

  // What the server knows

  const refresh = async () => update(await call("state", ask({ since: state?.last ?? -1 })));
  const update = (found) => {
    for (const other of found.others) {
      if (other.row === shown?.row) say(`Another tab labelled the segment that you see “${said(other.classes)}”.`, false, `row ${other.row}`);
      else if (mine.has(other.row)) say(`Another tab labelled a segment of yours again: “${said(other.classes)}” instead of “${said(mine.get(other.row))}”. The later label counts.`, false, `row ${other.row}`);
      mine.delete(other.row);
      if (other.row === shown?.row) shown.label = other;
    }
    const first = state === null;
    state = found;
    if (first) found.notes.forEach((note) => say(note, true));
    document.title = `auricle label · ${found.library}`;
    $("library").textContent = found.library;
    $("counts").textContent = [
      `${counted(found.labels, "label")} of ${counted(found.segments, "segment")}`, `${found.sampled} in the random sample`,
      `${found.skipped} skipped`,
    ].join(" · ");
    if (first) {
      $("class").replaceChildren(...found.classes.map((name) => {
        const option = element("option", name);
        option.value = name;
        return option;
      }));
      $("class-of").hidden = found.classes.length < 2;
    }
    $("sample").textContent = found.held_out
      ? `One in five comes from a random sample (${found.held_out.toLocaleString("en")} segments are held out). Detectors are scored on it and never trained on it.`
      : "";
    detector(found.detector);
    ranking(found.ranking);
    if (shown) keys();
  };
  const detector = (found) => {
    $("quality").hidden = !found.fitted;
    if (!found.fitted) {
      $("fitted").textContent = `None yet: ${found.missing ?? "fit it, or label on"}.`;
      return;
    }
    $("fitted").textContent = `${counted(found.positives, "label")} with ${current()}, ${found.negatives} without; ${found.seconds.toFixed(1)} s.` +
      (found.labels < state.last ? " There are newer labels." : "");
    // A share of a few labels says nothing; from six on it has an interval.
    const interval = (share) => (share.low !== null ? `${percent(share.low).replace(" %", "")} to ${percent(share.high)}` : share.units < 6 ? `${share.units} of 6 labels` : share.method);
    const value = (share) => percent(share.units < 6 ? null : share.value);
    const tile = (name, text, below) => {
      const made = element("div"), number = element("dd", text);
      number.append(element("i", below));
      made.append(element("dt", name), number);
      return made;
    };
    const { precision, recall } = found;
    $("tiles").replaceChildren(
      tile("Detections", found.detections.toLocaleString("en"), `of ${state.segments.toLocaleString("en")}`),
      tile("Precision", value(precision), interval(precision)),
      tile("Recall", value(recall), interval(recall)),
    );
    const skipped = found.skipped ? `; ${found.skipped} skipped, which may flatter` : "";
    $("basis").textContent = `95 % intervals for this library, from the random sample: ${counted(precision.units, "detection")} and ${counted(recall.units, "segment")} with ${current()} among ${counted(found.drawn, "label")}${skipped}.`;
  };
  const ranking = (found) => {
    $("unranked").hidden = found.length > 0;
    $("ranking").replaceChildren(...found.map((each, rank) => {
      const line = element("li"), button = element("button");
      const before = ranks.get(each.row);
      const moved = !ranks.size ? "" : before === undefined ? "new" : before > rank ? `↑${before - rank}` : before < rank ? `↓${rank - before}` : "";
      const label = each.label ? said(each.label.classes) : each.held_out ? "held out" : "";
      const kind = each.label ? (each.label.classes?.includes(current()) ? "mark yes" : "mark no") : each.held_out || !moved ? "mark quiet" : "mark moved";
      button.type = "button";
      button.dataset.row = each.row;
      button.title = `${each.file}, ${clock(each.start)}`;
      const place = element("span", undefined, "place");
      place.append(element("bdi", `${each.file} ${clock(each.start)}`));
      button.append(element("span", String(rank + 1)), element("span", each.score.toFixed(3), "number"), place, element("span", label || moved, kind));
      button.onclick = guarded(async () => show((await call("segment", { row: each.row, tab })).segment));
      line.append(button);
      return line;
    }));
    rankMarks();
  };
  const rankMarks = () => {
    for (const button of $("ranking").querySelectorAll("button")) button.classList.toggle("shown", Number(button.dataset.row) === shown?.row);
  };

  // Keys and buttons

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey && event.key === "z") { event.preventDefault(); undo(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || !state) return;
    const inside = event.target.tagName;
    if (inside === "SELECT" || (inside === "INPUT" && event.target.type === "range")) return;
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
    const action = digit ? () => {
      const name = state.classes[Number(digit[1]) - 1];
      if (digit[1] === "0") save([]);
      else if (name === undefined) return;
      else if (event.shiftKey || several) add(name);
      else save([...chosen, name]);
    } : {
      " ": () => toggle(false), c: () => toggle(true), s: () => save(null), u: undo, m: mark, r: () => later(fit()), e: write,
      Enter: () => { if (chosen.size) save([...chosen]); },
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || (inside === "BUTTON" && (event.key === "Enter" || event.key === " ")) || event.repeat) return;
    event.preventDefault();
    action();
  });
  // What the mouse pressed must not answer to the next space bar.
  document.addEventListener("click", (event) => { if (event.detail > 0) document.activeElement.blur(); });
  $("play").onclick = () => toggle(false);
  $("around").onclick = () => toggle(true);
  $("skip").onclick = () => save(null);
  $("undo").onclick = undo;
  $("several").onclick = mark;
  $("fit").onclick = () => later(fit());
  $("export").onclick = write;
  $("picture").onclick = (event) => {
    const box = $("picture").getBoundingClientRect();
    play(true, (shown.seconds * (event.clientX - box.left)) / box.width);
  };
  $("threshold").oninput = () => { $("shown-threshold").textContent = Number($("threshold").value).toFixed(2); };
  $("threshold").onchange = () => { $("threshold").blur(); later(refresh()); };
  $("class").onchange = guarded(async () => { $("class").blur(); ranks = new Map(); await refresh(); await next(); });
  for (const each of document.querySelectorAll("input[name=way]")) each.onchange = guarded(next);

  guarded(async () => { await refresh(); await next(); })();
  setInterval(() => { if (state && !busy && !document.hidden) later(refresh()); }, 3000);
})();
