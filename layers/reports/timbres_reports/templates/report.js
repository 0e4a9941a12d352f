
"use strict";
(() => {
  const PAGE_ROWS = 50;
  const MAX_PRINTED_ROWS = 2000;
  // Indexes of the fields of a row, in the order of html_writer.py.
  const ACCOUNT = 0, RFC = 1, AMOUNT = 2, PREVIOUS = 3, AVAILABLE = 4, DAYS_LEFT = 5;
  const SHARE = 6, GROWTH = 7, DAYS_LEFT_TEXT = 8, SEVERITY = 9;
  const HAS_NO_CONTRACT = 10, DAILY = 11;

  const data = JSON.parse(document.getElementById("datos").textContent);
  const table = document.getElementById("emisores");
  if (!table || !data.rows.length) { return; }

  const collator = new Intl.Collator("es-MX");
  const byText = (get) => (a, b) => collator.compare(get(a), get(b));
  // Unknown values are last in both directions.
  const byNumber = (get) => (a, b, direction) => {
    const x = get(a), y = get(b);
    if (x === null || y === null) { return ((x === null) - (y === null)) * direction; }
    return x - y;
  };
  const account = (row) => data.accounts[row[ACCOUNT]];
  const growth = (row) => row[PREVIOUS] ? (row[AMOUNT] - row[PREVIOUS]) / row[PREVIOUS] : null;
  const columns = [
    { compare: byText(account), firstDirection: 1 },
    { compare: byText((row) => row[RFC]), firstDirection: 1 },
    { compare: byNumber((row) => row[AMOUNT]), firstDirection: -1 },
    { compare: byNumber((row) => row[AMOUNT]), firstDirection: -1 },
    { compare: byNumber((row) => row[PREVIOUS]), firstDirection: -1 },
    { compare: byNumber(growth), firstDirection: -1 },
    { compare: byNumber((row) => row[AVAILABLE]), firstDirection: 1 },
    { compare: byNumber((row) => row[DAYS_LEFT]), firstDirection: 1 },
  ];

  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const search = document.getElementById("buscar");
  const status = document.getElementById("estado");
  const pageLabel = document.getElementById("lugar");
  const [previousButton, nextButton] = document.querySelectorAll(".pager button");
  const searchTexts = data.rows.map((row) => `${row[RFC]} ${account(row)}`.toUpperCase());
  let order = data.rows.map((_, index) => index);
  let matches = order;
  let column = 2, direction = -1, page = 0;

  const formatNumber = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  const formatCount = (value) => value === null ? data.none : formatNumber(value);

  function createElement(tag, text, className) {
    const element = document.createElement(tag);
    element.textContent = text;
    if (className) { element.className = className; }
    return element;
  }

  function createFigureCell(text, style) {
    const muted = text === data.none || text === data.noContract;
    return createElement("td", text, muted ? "n none" : style ? `n ${style}` : "n");
  }

  function createRow(row) {
    const element = document.createElement("tr");
    const head = createElement("th", "");
    head.scope = "row";
    head.className = "rfc";
    head.title = row[RFC];
    const button = createElement("button", row[RFC]);
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => toggleDays(button, element, row));
    head.append(button);
    element.append(
      createElement("td", account(row)), head,
      createFigureCell(formatNumber(row[AMOUNT])), createFigureCell(row[SHARE]),
      createFigureCell(formatCount(row[PREVIOUS])),
      createFigureCell(row[GROWTH]),
      createFigureCell(row[HAS_NO_CONTRACT] ? data.noContract : formatCount(row[AVAILABLE]), row[AVAILABLE] !== null && row[AVAILABLE] <= 0 ? "urgent" : ""),
      createFigureCell(row[DAYS_LEFT_TEXT], row[SEVERITY]),
    );
    return element;
  }

  function toggleDays(button, issuerRow, row) {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) { issuerRow.nextElementSibling.remove(); return; }
    const daysRow = document.createElement("tr");
    const daysCell = createElement("td", "");
    daysCell.colSpan = columns.length;
    const days = row[DAILY];
    const sum = days.reduce((a, b) => a + b, 0);
    if (sum || days.some((amount) => amount)) {
      const list = createElement("ol", "", "days");
      days.forEach((amount, index) => {
        if (!amount) { return; }
        const item = document.createElement("li");
        item.append(createElement("span", `${String(index + 1).padStart(2, "0")}/${data.month}`), formatNumber(amount));
        list.append(item);
      });
      daysCell.append(list);
    } else {
      daysCell.append(createElement("p", "Sin movimientos por día.", "note"));
    }
    if (sum !== row[AMOUNT]) {
      daysCell.append(createElement("p", `Los días suman ${formatNumber(sum)}; el total del RFC es ${formatNumber(row[AMOUNT])}.`, "note"));
    }
    daysRow.append(daysCell);
    issuerRow.after(daysRow);
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

  function updateStatus() {
    const sum = matches.reduce((total, index) => total + data.rows[index][AMOUNT], 0);
    status.textContent = matches.length === order.length
      ? `${formatNumber(order.length)} RFC, ${formatNumber(sum)} timbres`
      : `${formatNumber(matches.length)} de ${formatNumber(order.length)} RFC, ${formatNumber(sum)} timbres`;
  }

  function filter() {
    const query = search.value.trim().normalize("NFC").toUpperCase();
    matches = query ? order.filter((index) => searchTexts[index].includes(query)) : order;
    page = 0;
    render();
    updateStatus();
  }

  function sort(index) {
    direction = index === column ? -direction : columns[index].firstDirection;
    column = index;
    const { compare } = columns[index];
    order = data.rows.map((_, position) => position).sort(
      (a, b) => direction * compare(data.rows[a], data.rows[b], direction) || a - b,
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
  previousButton.addEventListener("click", () => { page -= 1; render(); });
  nextButton.addEventListener("click", () => { page += 1; render(); });

  // The printed table has no pager, so it has more rows.
  function beforePrint() {
    renderRows(0, MAX_PRINTED_ROWS);
    document.getElementById("impresos").hidden = matches.length <= MAX_PRINTED_ROWS;
  }
  function afterPrint() {
    document.getElementById("impresos").hidden = true;
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
