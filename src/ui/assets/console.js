// The script of the console. Every page works without it. It keeps the open page up to date, copies commands, and adds
// keys. It runs no text as code, and inserts markup of the console only by a parser that runs no scripts.
"use strict";

(() => {
  const main = () => document.getElementById("main");
  const mark = document.querySelector("[data-live][role=status]");

  // Changes one element into another one, so that focus, selection, scroll positions and open details stay.
  const morph = (from, to) => {
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && !(name === "open" && from.localName === "details")) from.removeAttribute(name);
    }
    for (const { name, value } of [...to.attributes]) {
      if (from.getAttribute(name) !== value && !(name === "open" && from.localName === "details")) {
        from.setAttribute(name, value);
      }
    }
    const known = new Map();
    for (const child of from.children) if (child.id) known.set(child.id, child);
    let place = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      const same = wanted.id && known.get(wanted.id);
      if (same && same !== place && same.parentNode === from) from.insertBefore(same, place);
      const current = same || place;
      if (!current || current.nodeType !== wanted.nodeType || current.nodeName !== wanted.nodeName
          || (current.id || "") !== (wanted.id || "")) {
        from.insertBefore(wanted, place);
        continue;
      }
      place = current.nextSibling;
      if (current.nodeType === Node.ELEMENT_NODE) {
        // A field keeps what the user has typed.
        if (!["INPUT", "SELECT", "TEXTAREA"].includes(current.nodeName)) morph(current, wanted);
      } else if (current.nodeValue !== wanted.nodeValue) {
        current.nodeValue = wanted.nodeValue;
      }
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  };

  const update = (text) => {
    const end = text.indexOf("\n");
    const parsed = new DOMParser().parseFromString(text.slice(end + 1), "text/html");
    const wanted = parsed.getElementById("main");
    if (!wanted) return;
    document.title = text.slice(0, end);
    morph(main(), document.importNode(wanted, true));
    prepare(main());
  };

  let source = null;
  const show = (text) => {
    if (!mark) return;
    mark.hidden = false;
    mark.textContent = text;
    mark.classList.toggle("off", text !== "Live");
  };
  const open = () => {
    if (source || !document.body.dataset.live || document.hidden) return;
    const path = location.pathname + location.search;
    const query = new URLSearchParams({ path, seen: main().dataset.hash || "" });
    source = new EventSource(`${document.body.dataset.live}?${query}`);
    source.addEventListener("open", () => show("Live"));
    source.addEventListener("main", (event) => update(event.data));
    source.addEventListener("error", () => {
      show("Reconnecting");
      // The address has the hash of the content that is shown now.
      close();
      setTimeout(open, 2000);
    });
  };
  const close = () => {
    if (source) source.close();
    source = null;
  };
  // A page in the background needs no updates, and a browser has few connections.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);

  const prepare = (root) => {
    for (const button of root.querySelectorAll("button[data-copy]")) button.hidden = !navigator.clipboard;
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const text = button.parentElement.querySelector("code").textContent;
    navigator.clipboard.writeText(text).then(() => {
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  });

  // Logs: the stream begins with the logs as they are, and goes on with new lines. The end stays in view unless the user
  // has scrolled up.
  const log = document.querySelector(".log[data-logs]");
  const pause = document.querySelector("button[data-pause]");
  const summary = document.querySelector("[data-log-note]");
  const MAX_ROWS = 10000;
  let noted = false;
  let tail = null;
  let paused = false;
  let finished = false;
  const put = (text, isAll) => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    const parsed = new DOMParser().parseFromString(text, "text/html");
    const rows = [...parsed.body.children].map((row) => document.importNode(row, true));
    if (isAll) log.replaceChildren(...rows);
    else log.append(...rows);
    while (log.childElementCount > MAX_ROWS) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
    if (!noted && !isAll) summary.textContent = `${log.childElementCount} lines are shown.`;
  };
  const note = (text) => {
    noted = true;
    summary.textContent = new DOMParser().parseFromString(text, "text/html").body.textContent;
  };
  const leave = () => {
    if (tail) tail.close();
    tail = null;
  };
  const follow = () => {
    if (!log || tail || paused || finished || document.hidden) return;
    tail = new EventSource(log.dataset.logs);
    tail.addEventListener("open", () => show("Live"));
    tail.addEventListener("log", (event) => put(event.data, true));
    tail.addEventListener("line", (event) => put(event.data, false));
    tail.addEventListener("note", (event) => note(event.data));
    tail.addEventListener("end", (event) => {
      finished = true;
      leave();
      note(event.data);
      show("Ended");
      pause.hidden = true;
    });
    tail.addEventListener("error", () => {
      show("Reconnecting");
      leave();
      setTimeout(follow, 2000);
    });
  };
  if (log) {
    log.scrollTop = log.scrollHeight;
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.textContent = paused ? "Continue" : "Pause";
      if (paused) {
        leave();
        show("Paused");
      } else {
        follow();
      }
    });
    document.addEventListener("visibilitychange", () => (document.hidden ? leave() : follow()));
    addEventListener("pagehide", leave);
    addEventListener("pageshow", follow);
  }

  // A choice in a filter applies without the button.
  document.addEventListener("change", (event) => {
    if (event.target.matches("form.filters select")) event.target.form.requestSubmit();
  });

  // Empty fields are left out of the address.
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form.filters")) return;
    for (const field of event.target.elements) if (field.name && !field.value) field.disabled = true;
  });

  // Keys: "/" search, "g" and a letter opens a section, "j" and "k" move between the links of a table, "?" shows the keys.
  let prefix = false;
  const sections = { o: "/", j: "/jobs", s: "/schedules", c: "/calendar", l: "/limits" };
  const step = (by) => {
    const links = [...document.querySelectorAll("main tbody th a")];
    const at = links.indexOf(document.activeElement);
    const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by];
    if (next) next.focus();
  };
  const KEYS = [
    ["/", "search"],
    ["j, k", "next and previous line of a table"],
    ["Enter", "open the line"],
    ["g o", "overview"],
    ["g j", "Jobs"],
    ["g s", "schedules"],
    ["g c", "calendar"],
    ["g l", "limits"],
    ["?", "these keys"],
    ["Esc", "close"],
  ];
  const help = () => {
    const add = (parent, kind, text) => {
      const element = document.createElement(kind);
      if (text) element.textContent = text;
      parent.append(element);
      return element;
    };
    const dialog = add(document.body, "dialog");
    dialog.setAttribute("aria-label", "Keys");
    add(dialog, "h2", "Keys");
    const list = add(dialog, "dl");
    list.className = "keys";
    for (const [key, meaning] of KEYS) {
      add(add(list, "dt"), "kbd", key);
      add(list, "dd", meaning);
    }
    const close = add(dialog, "button", "Close");
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
  };
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const typing = event.target.closest("input, select, textarea, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    if (prefix) {
      prefix = false;
      const link = document.querySelector(`nav.sections a[href="${sections[key] || ""}"]`);
      if (link) link.click();
      return;
    }
    if (key === "/") {
      const search = document.querySelector("input[type=search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
      search.select();
    } else if (key === "g") {
      prefix = true;
      setTimeout(() => (prefix = false), 1500);
    } else if (key === "?") {
      event.preventDefault();
      help();
    } else if (key === "j") {
      step(1);
    } else if (key === "k") {
      step(-1);
    }
  });

  prepare(document);
  open();
  follow();
})();
