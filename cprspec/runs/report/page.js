"use strict";
// Tables that can be sorted: a button in each header; again: the other way round. Rows that are equal keep their order.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const words = header.classList.contains("words");
      const before = header.getAttribute("aria-sort");
      const direction = before ? (before === "ascending" ? "descending" : "ascending") : (words ? "ascending" : "descending");
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", direction);
      const value = (row) => {
        const cell = row.cells[column];
        return words ? cell.textContent.trim() : (cell.dataset.value === undefined ? null : Number(cell.dataset.value));
      };
      const sign = direction === "ascending" ? 1 : -1;
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (words ? x.localeCompare(y, undefined, { numeric: true }) : x - y);
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  });
}
// Paper shows what is folded.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open]):not(.long)")) folded.open = true;
});
