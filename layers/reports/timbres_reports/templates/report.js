
"use strict";
(() => {
  const PAGE = 50;
  const MOST_PRINTED = 2000;
  // Where a row of the data keeps what; the order is the writer's.
  const ACCOUNT = 0, RFC = 1, AMOUNT = 2, PREVIOUS = 3, AVAILABLE = 4, LEFT = 5;
  const SHARE = 6, GROWTH = 7, LEFT_TEXT = 8, URGENCY = 9, DAYS = 10;

  const data = JSON.parse(document.getElementById("datos").textContent);
  const table = document.getElementById("emisores");
  if (!table || !data.rows.length) { return; }

  const words = new Intl.Collator("es-MX");
  const text = (at) => (a, b) => words.compare(at(a), at(b));
  // What is not known comes last, whichever way a column is sorted.
  const number = (at) => (a, b, turn) => {
    const x = at(a), y = at(b);
    if (x === null || y === null) { return ((x === null) - (y === null)) * turn; }
    return x - y;
  };
  const account = (row) => data.accounts[row[ACCOUNT]];
  const growth = (row) => row[PREVIOUS] ? (row[AMOUNT] - row[PREVIOUS]) / row[PREVIOUS] : null;
  const columns = [
    { compare: text(account), first: 1 },
    { compare: text((row) => row[RFC]), first: 1 },
    { compare: number((row) => row[AMOUNT]), first: -1 },
    { compare: number((row) => row[AMOUNT]), first: -1 },
    { compare: number((row) => row[PREVIOUS]), first: -1 },
    { compare: number(growth), first: -1 },
    { compare: number((row) => row[AVAILABLE]), first: 1 },
    { compare: number((row) => row[LEFT]), first: 1 },
  ];

  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const search = document.getElementById("buscar");
  const status = document.getElementById("estado");
  const place = document.getElementById("lugar");
  const [back, on] = document.querySelectorAll(".pager button");
  const haystack = data.rows.map((row) => `${row[RFC]} ${account(row)}`.toUpperCase());
  let order = data.rows.map((_, index) => index);
  let found = order;
  let column = 2, turn = -1, page = 0;

  const grouped = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  const known = (value) => value === null ? data.none : grouped(value);

  function cell(tag, words, name) {
    const made = document.createElement(tag);
    made.textContent = words;
    if (name) { made.className = name; }
    return made;
  }

  function figure(words, tone) {
    return cell("td", words, words === data.none ? "n none" : tone ? `n ${tone}` : "n");
  }

  function line(row) {
    const made = document.createElement("tr");
    const head = cell("th", "");
    head.scope = "row";
    head.className = "rfc";
    head.title = row[RFC];
    const button = cell("button", row[RFC]);
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => toggle(button, made, row));
    head.append(button);
    made.append(
      cell("td", account(row)), head,
      figure(grouped(row[AMOUNT])), figure(row[SHARE]), figure(known(row[PREVIOUS])),
      figure(row[GROWTH]),
      figure(known(row[AVAILABLE]), row[AVAILABLE] !== null && row[AVAILABLE] <= 0 ? "urgent" : ""),
      figure(row[LEFT_TEXT], row[URGENCY]),
    );
    return made;
  }

  function toggle(button, after, row) {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) { after.nextElementSibling.remove(); return; }
    const made = document.createElement("tr");
    const wide = cell("td", "");
    wide.colSpan = columns.length;
    const days = row[DAYS];
    const sum = days.reduce((a, b) => a + b, 0);
    if (sum || days.some((amount) => amount)) {
      const list = cell("ol", "", "days");
      days.forEach((amount, index) => {
        if (!amount) { return; }
        const item = document.createElement("li");
        item.append(cell("span", `${String(index + 1).padStart(2, "0")}/${data.month}`), grouped(amount));
        list.append(item);
      });
      wide.append(list);
    } else {
      wide.append(cell("p", "Sin movimientos por día.", "note"));
    }
    if (sum !== row[AMOUNT]) {
      wide.append(cell("p", `Los días suman ${grouped(sum)}; el total del RFC es ${grouped(row[AMOUNT])}.`, "note"));
    }
    made.append(wide);
    after.after(made);
  }

  function show(from, to) {
    body.replaceChildren(...found.slice(from, to).map((index) => line(data.rows[index])));
  }

  function render() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    show(page * PAGE, (page + 1) * PAGE);
    place.textContent = `Página ${grouped(page + 1)} de ${grouped(pages)}`;
    // Disabled for real, a button would lose the focus of whoever pressed it.
    back.parentElement.hidden = pages === 1;
    back.setAttribute("aria-disabled", String(page === 0));
    on.setAttribute("aria-disabled", String(page === pages - 1));
  }

  function count() {
    const sum = found.reduce((all, index) => all + data.rows[index][AMOUNT], 0);
    status.textContent = found.length === order.length
      ? `${grouped(order.length)} RFC, ${grouped(sum)} timbres`
      : `${grouped(found.length)} de ${grouped(order.length)} RFC, ${grouped(sum)} timbres`;
  }

  function filter() {
    const wanted = search.value.trim().normalize("NFC").toUpperCase();
    found = wanted ? order.filter((index) => haystack[index].includes(wanted)) : order;
    page = 0;
    render();
    count();
  }

  function sort(index) {
    turn = index === column ? -turn : columns[index].first;
    column = index;
    const { compare } = columns[index];
    order = data.rows.map((_, at) => at).sort(
      (a, b) => turn * compare(data.rows[a], data.rows[b], turn) || a - b,
    );
    heads.forEach((head, at) => {
      if (at !== column) { head.removeAttribute("aria-sort"); return; }
      head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
    });
    filter();
  }

  heads.forEach((head, index) => {
    const button = cell("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sort(index));
    head.replaceChildren(button);
  });
  heads[column].setAttribute("aria-sort", "descending");
  search.addEventListener("input", filter);
  back.addEventListener("click", () => { page -= 1; render(); });
  on.addEventListener("click", () => { page += 1; render(); });

  // On paper there are no pages to turn.
  function beforePrint() {
    show(0, MOST_PRINTED);
    document.getElementById("impresos").hidden = found.length <= MOST_PRINTED;
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
