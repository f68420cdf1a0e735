"use strict";
/* The question browser. Data is other people's text: it only ever becomes textContent, never markup. */
(() => {
  const data = JSON.parse(document.getElementById("question-data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("found");
  const status = document.getElementById("status");
  const more = document.getElementById("more");
  if (!data.rounds.length) { status.textContent = "No round has been scored yet."; return; }
  const PAGE = 25;
  const text = (number) => data.texts[number];
  const roundName = (number) => (number ? "Round " + number : "SFT");
  const MATCH = data.outcomes.indexOf("match");
  const UNUSABLE = data.outcomes.indexOf("gold_unusable");
  let found = [], shown = 0;

  function element(tag, className, content) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (content !== undefined) made.textContent = content;
    return made;
  }

  function fill(select, options, chosen) {
    select.replaceChildren(...options.map(([value, label]) => {
      const option = element("option", "", label);
      option.value = value;
      return option;
    }));
    if (options.some(([value]) => String(value) === String(chosen))) select.value = chosen;
  }

  const field = (name) => form.elements[name];
  const split = () => data.splits[Number(field("split").value)];
  const place = (name) => data.rounds.indexOf(Number(field(name).value));

  /* What changed between two answers, for the filter "Show". */
  const KINDS = {
    changed: ["Fixed or broken", (a, b) => right(a) !== right(b)],
    fixed: ["Fixed", (a, b) => !right(a) && right(b)],
    broken: ["Broken", (a, b) => right(a) && !right(b)],
    wrong: ["Wrong in both", (a, b) => !right(a) && !right(b)],
    right: ["Right in both", (a, b) => right(a) && right(b)],
    all: ["All questions", () => true],
  };
  const ALONE = {
    wrong: ["Wrong", (a, b) => !right(b)],
    right: ["Right", (a, b) => right(b)],
    all: ["All questions", () => true],
  };
  const right = (answer) => answer !== null && answer[0] === MATCH;
  const counts = (answer) => answer !== null && answer[0] !== UNUSABLE;
  const kinds = () => (field("round").value === field("against").value ? ALONE : KINDS);

  function setUp() {
    const last = data.rounds[data.rounds.length - 1];
    fill(field("split"), data.splits.map((s, i) => [i, s.name]), data.splits.length > 1 ? 1 : 0);
    fill(field("round"), data.rounds.map((r) => [r, roundName(r)]), data.best || last);
    setAgainst("0");
    setKinds();
    setParts();
  }

  function setAgainst(chosen) {
    const round = Number(field("round").value);
    const earlier = data.rounds.filter((r) => r < round);
    fill(field("against"), (earlier.length ? earlier : [round]).map((r) =>
      [r, r === round ? "nothing" : roundName(r) + (r === round - 1 && r ? " (the round before)" : "")]), chosen);
  }

  function setKinds() {
    const chosen = field("kind").value;
    fill(field("kind"), Object.entries(kinds()).map(([key, kind]) => [key, kind[0]]), chosen);
  }

  function setParts() {
    const used = (column) => [...new Set(split().questions.map((q) => text(q[column])))].filter(Boolean);
    const database = field("database").value, hardness = field("hardness").value, outcome = field("outcome").value;
    fill(field("database"), [["", "all"], ...used(1).sort().map((name) => [name, name])], database);
    fill(field("hardness"), [["", "all"], ...used(2).map((name) => [name, name])], hardness);
    fill(field("outcome"), [["", "all"], ...data.outcomes.map((name, i) => [i, name])], outcome);
  }

  function search() {
    const a = place("against"), b = place("round");
    const test = kinds()[field("kind").value][1];
    const everything = field("kind").value === "all";
    const database = field("database").value, hardness = field("hardness").value;
    const outcome = field("outcome").value, words = field("words").value.trim().toLowerCase();
    found = split().questions.filter((q) => {
      const before = q[6][a], after = q[6][b];
      return (everything || (counts(before) && counts(after))) && test(before, after)
        && (!database || text(q[1]) === database) && (!hardness || text(q[2]) === hardness)
        && (outcome === "" || (after !== null && after[0] === Number(outcome)))
        && (!words || [q[3], q[5], ...[before, after].filter(Boolean).map((x) => x[2])]
          .some((number) => text(number).toLowerCase().includes(words)));
    });
    shown = 0;
    list.replaceChildren();
    show();
  }

  function show() {
    const a = place("against"), b = place("round");
    const part = found.slice(shown, shown + PAGE).map((q) => question(q, a, b));
    list.append(...part);
    shown += part.length;
    status.textContent = found.length
      ? `${found.length.toLocaleString("en")} of ${split().questions.length.toLocaleString("en")} questions of ${split().name}; ${shown.toLocaleString("en")} shown`
      : "No question fits these filters.";
    more.hidden = shown >= found.length;
    return part[0];
  }

  function question(q, a, b) {
    const item = element("li", "question");
    const before = q[6][a], after = q[6][b];
    const head = element("p", "about");
    if (a !== b && right(before) !== right(after) && counts(before) && counts(after)) {
      head.append(element("span", right(after) ? "tag fixed" : "tag broken", right(after) ? "fixed" : "broken"));
    }
    head.append(element("span", "", [text(q[1]), text(q[2]), "row " + q[0]].filter(Boolean).join(" · ")));
    item.append(head, element("p", "asked", text(q[3])));
    if (text(q[4])) item.append(element("p", "evidence", text(q[4])));
    const answers = element("dl", "");
    const gold = text(q[5]);
    add(answers, "Gold", null, gold, null);
    if (a !== b) add(answers, roundName(data.rounds[a]), before, null, gold);
    add(answers, roundName(data.rounds[b]), after, null, gold);
    item.append(answers);
    return item;
  }

  function add(answers, name, answer, sql, gold) {
    const term = element("dt", "", name);
    const shownText = answer ? text(answer[2]) : sql;
    if (answer) {
      const outcome = data.outcomes[answer[0]], detail = text(answer[1]);
      term.append(element("span", "tag o-" + outcome, detail ? outcome + ": " + detail : outcome));
    }
    const value = element("dd", "");
    if (shownText === null) value.append(element("em", "", "no answer"));
    else if (answer && !answer[3]) value.append(element("em", "", "no statement found in: "), element("code", "", shownText));
    else value.append(gold === null ? element("code", "", shownText) : compare(shownText, gold));
    answers.append(term, value);
  }

  /* The SQL with the words underlined that gold does not have at that place (longest common subsequence). */
  function compare(sql, gold) {
    const cut = (s) => s.match(/\s+|\w+|[^\s\w]/g) || [];
    const code = element("code", "");
    const all = cut(sql), x = all.filter((w) => w.trim()), y = cut(gold).filter((w) => w.trim());
    if (x.length * y.length > 250000) { code.textContent = sql; return code; }
    const same = (i, j) => x[i].toLowerCase() === y[j].toLowerCase();
    const best = Array.from({ length: x.length + 1 }, () => new Uint16Array(y.length + 1));
    for (let i = x.length - 1; i >= 0; i--) {
      for (let j = y.length - 1; j >= 0; j--) {
        best[i][j] = same(i, j) ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
      }
    }
    let i = 0, j = 0;
    for (const word of all) {
      if (!word.trim()) { code.append(word); continue; }
      while (j < y.length && !same(i, j) && best[i][j + 1] >= best[i + 1][j]) j++;
      if (j < y.length && same(i, j)) { code.append(word); j++; } else code.append(element("mark", "", word));
      i++;
    }
    return code;
  }

  form.addEventListener("input", (event) => {
    const name = event.target.name;
    if (name === "split") setParts();
    if (name === "round") setAgainst(field("against").value);
    if (name === "round" || name === "against") setKinds();
    search();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = show();
    if (first) { first.tabIndex = -1; first.focus(); }
  });
  /* Numbers of the tables lead to their questions. */
  document.querySelectorAll("a[data-kind]").forEach((link) => link.addEventListener("click", () => {
    const number = data.splits.findIndex((s) => s.name === link.dataset.split);
    form.reset();
    field("split").value = number;
    field("round").value = link.dataset.round;
    setAgainst(link.dataset.against);
    setKinds();
    setParts();
    field("kind").value = link.dataset.kind;
    search();
  }));

  setUp();
  form.hidden = false;
  search();
})();
