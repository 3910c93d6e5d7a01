"use strict";
for (const form of document.querySelectorAll("form.search")) {
  const rows = [...document.querySelectorAll("#" + form.dataset.of + " tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const [words, choice, count] = [form.querySelector("input"), form.querySelector("select"), form.querySelector("output")];
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, place) => {
      const fits = wanted.every((word) => texts[place].includes(word)) && (!choice || !choice.value || row.dataset.kind === choice.value);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    count.value = shown === rows.length ? "" : shown + " of " + rows.length + " rows shown";
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("beforeprint", () => { form.reset(); filter(); });
}
