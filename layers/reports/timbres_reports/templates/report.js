
"use strict";
(() => {
  const PAGE_ROWS = 50;
  const MAX_PRINTED_ROWS = 2000;
  // Indexes of the fields of a row, in the order of html_writer.py.
  const NAME = 0, TEXTS = 1, VALUES = 2, SEVERITY = 3, EXHAUSTED = 4, PARTS = 5, SUMS = 6;
  const DAILY = 7, ACCOUNTS = 8;
  // Indexes of the numbers of SUMS.
  const AMOUNT = 0, COMPARED = 1, PREVIOUS = 2, CENTS = 3;

  const data = JSON.parse(document.getElementById("datos").textContent);
  const table = document.getElementById("emisores");
  if (!table || !data.rows.length) { return; }

  const at = (key) => data.keys.indexOf(key);
  const RFC = 0, STAMPS = at("amount"), AVAILABLE = at("available"), DAYS_LEFT = at("days_left");
  const collator = new Intl.Collator("es-MX");
  const isText = (index) => data.types[index] === "text" || data.types[index] === "time";
  // The value of a text is the text itself; unknown values are last in both directions.
  const sortValue = (row, index) => data.types[index] === "text" ? row[TEXTS][index] : row[VALUES][index];
  function compare(a, b, index) {
    const x = sortValue(a, index), y = sortValue(b, index);
    if (x === null || y === null) { return ((x === null) - (y === null)) * direction; }
    return data.types[index] === "text" ? collator.compare(x, y) : (x > y) - (x < y);
  }

  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const totals = [...table.tFoot.rows[0].cells];
  const [search, select, status, filtered, pageLabel, printed] =
    ["buscar", "filtro", "estado", "filtrado", "lugar", "impresos"].map((id) => document.getElementById(id));
  const [previousButton, nextButton] = document.querySelectorAll(".pager button");
  const searchTexts = data.rows.map((row) => `${row[TEXTS][RFC]} ${row[NAME]} ${row[ACCOUNTS]}`.toUpperCase());
  let order = data.rows.map((_, index) => index);
  let matches = order;
  let column = STAMPS, direction = -1, page = 0;

  const formatNumber = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  // Tenths of a percent, half up, in whole numbers like the server.
  function percent(part, whole) {
    if (!whole) { return "0.0"; }
    const tenths = Math.floor((2000 * Math.abs(part) + whole) / (2 * whole));
    const sign = part < 0 && tenths ? "-" : "";
    return `${sign}${formatNumber(Math.floor(tenths / 10))}.${tenths % 10}`;
  }

  function createElement(tag, text, className) {
    const element = document.createElement(tag);
    element.textContent = text;
    if (className) { element.className = className; }
    return element;
  }

  function createCell(text, index, style) {
    const muted = data.empty.includes(text) ? " none" : style ? ` ${style}` : "";
    const kind = data.types[index] === "time" ? " w" : isText(index) ? "" : " n";
    return createElement("td", text, `c-${data.keys[index]}${kind}${muted}`);
  }

  const styleOf = (row, index) =>
    index === DAYS_LEFT ? row[SEVERITY] : index === AVAILABLE && row[EXHAUSTED] ? "urgent" : "";

  function createRow(row) {
    const element = document.createElement("tr");
    const head = createElement("th", "", "rfc");
    head.scope = "row";
    head.title = row[TEXTS][RFC];
    const button = createElement("button", row[TEXTS][RFC]);
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => toggleDetails(button, element, row));
    head.append(button);
    if (row[NAME]) { head.append(createElement("span", row[NAME], "small")); }
    element.append(head, ...row[TEXTS].slice(1).map((text, index) => createCell(text, index + 1, styleOf(row, index + 1))));
    return element;
  }

  // A narrow screen shows two columns of the table, and the others here.
  function createFigures(texts) {
    const list = createElement("dl", "", "details");
    texts.forEach((text, index) => {
      if (index === RFC) { return; }
      const pair = createElement("div", "", `c-${data.keys[index]}`);
      pair.append(createElement("dt", data.headings[index]), createElement("dd", text));
      list.append(pair);
    });
    return list;
  }

  function toggleDetails(button, issuerRow, row) {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) { issuerRow.nextElementSibling.remove(); return; }
    const detailsRow = document.createElement("tr");
    const cell = createElement("td", "");
    cell.colSpan = heads.length;
    const own = createFigures(row[TEXTS]);
    own.classList.add("phone");
    cell.append(own, ...row[PARTS].map(createFigures));
    const days = row[DAILY];
    const sum = days.reduce((a, b) => a + b, 0);
    if (days.some((amount) => amount)) {
      const list = createElement("ol", "", "days");
      days.forEach((amount, index) => {
        if (!amount) { return; }
        const item = document.createElement("li");
        item.append(createElement("span", `${String(index + 1).padStart(2, "0")}/${data.month}`), formatNumber(amount));
        list.append(item);
      });
      cell.append(list);
    } else {
      cell.append(createElement("p", "Sin movimientos por día.", "note"));
    }
    if (sum !== row[SUMS][AMOUNT]) {
      cell.append(createElement("p", `Los días suman ${formatNumber(sum)}; el total del RFC es ${formatNumber(row[SUMS][AMOUNT])}.`, "note"));
    }
    detailsRow.append(cell);
    issuerRow.after(detailsRow);
  }

  function renderRows(from, to) {
    body.replaceChildren(...matches.slice(from, to).map((index) => createRow(data.rows[index])));
  }

  function render() {
    const pages = Math.max(1, Math.ceil(matches.length / PAGE_ROWS));
    page = Math.min(Math.max(page, 0), pages - 1);
    renderRows(page * PAGE_ROWS, (page + 1) * PAGE_ROWS);
    pageLabel.textContent = `Página ${formatNumber(page + 1)} de ${formatNumber(pages)}`;
    // A button with the attribute `disabled` would lose the focus.
    previousButton.parentElement.hidden = pages === 1;
    previousButton.setAttribute("aria-disabled", String(page === 0));
    nextButton.setAttribute("aria-disabled", String(page === pages - 1));
  }

  // The sums of the rows found, in the texts of the last row.
  const originalTotals = totals.map((cell) => cell.textContent);
  function updateTotals() {
    const sum = (index) => matches.reduce((total, match) => total + (data.rows[match][SUMS][index] ?? 0), 0);
    const known = (index) => matches.some((match) => data.rows[match][SUMS][index] !== null);
    const amount = sum(AMOUNT);
    const isAll = matches.length === order.length;
    const counted = `${formatNumber(matches.length)} de ${formatNumber(order.length)} RFC`;
    status.textContent = `${isAll ? `${formatNumber(order.length)} RFC` : counted}, ${formatNumber(amount)} timbres`;
    const chosen = select.selectedOptions[0].textContent;
    const query = search.value.trim();
    const parts = [query && `«${query}»`, select.value && chosen].filter(Boolean).join(", ");
    filtered.textContent = `Tabla filtrada (${parts}): ${counted}. Los totales son los de estos RFC.`;
    filtered.hidden = isAll;
    if (isAll) { totals.forEach((cell, index) => { cell.textContent = originalTotals[index]; }); return; }
    const [compared, before, cents] = [sum(COMPARED), sum(PREVIOUS), sum(CENTS)];
    const change = percent(compared - before, before);
    const texts = {
      rfc: `Filtrados: ${formatNumber(matches.length)} RFC`,
      amount: formatNumber(amount),
      share: `${percent(amount, data.total)} %`,
      previous: known(PREVIOUS) ? formatNumber(before) : data.none,
      change: before ? `${change.startsWith("-") ? "" : "+"}${change} %` : known(PREVIOUS) && compared ? data.new : data.none,
      cost: known(CENTS) ? `$${formatNumber(Math.floor(cents / 100))}.${String(cents % 100).padStart(2, "0")}` : data.none,
    };
    totals.forEach((cell, index) => { cell.textContent = texts[data.keys[index]] ?? ""; });
  }

  function filter() {
    const query = search.value.trim().normalize("NFC").toUpperCase();
    const days = select.value === "" ? null : Number(select.value);
    const isShown = (row) => days === null || row[EXHAUSTED] === 1
      || (days > 0 && row[VALUES][DAYS_LEFT] !== null && row[VALUES][DAYS_LEFT] < days);
    matches = query || days !== null
      ? order.filter((index) => searchTexts[index].includes(query) && isShown(data.rows[index]))
      : order;
    page = 0;
    render();
    updateTotals();
  }

  function sort(index) {
    direction = index === column ? -direction : data.types[index] === "text" || index >= AVAILABLE ? 1 : -1;
    column = index;
    order = data.rows.map((_, position) => position).sort(
      (a, b) => direction * compare(data.rows[a], data.rows[b], index) || a - b,
    );
    heads.forEach((head, position) => {
      if (position !== column) { head.removeAttribute("aria-sort"); return; }
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    });
    filter();
  }

  heads.forEach((head, index) => {
    const button = createElement("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sort(index));
    head.replaceChildren(button);
  });
  heads[column].setAttribute("aria-sort", "descending");
  search.addEventListener("input", filter);
  select.addEventListener("change", filter);
  previousButton.addEventListener("click", () => { page -= 1; render(); });
  nextButton.addEventListener("click", () => { page += 1; render(); });

  // The printed table has no pager, so it has more rows.
  function beforePrint() {
    renderRows(0, MAX_PRINTED_ROWS);
    printed.hidden = matches.length <= MAX_PRINTED_ROWS;
  }
  function afterPrint() {
    printed.hidden = true;
    render();
  }
  window.addEventListener("beforeprint", beforePrint);
  window.addEventListener("afterprint", afterPrint);
  window.matchMedia("print").addEventListener("change", (event) => {
    if (event.matches) { beforePrint(); } else { afterPrint(); }
  });

  document.querySelector(".controls").hidden = false;
  filter();
})();
