// Elements of the page: made by name, with text as text.

function byId(id) {
  return document.getElementById(id);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Choices of which one holds, as radio buttons in a fieldset with this id.
function choose(id, values, chosen, onChange, name = String) {
  const set = byId(id);
  const inputs = values.map((value, i) => element("input", { type: "radio", name: id, id: `${id}-${i}`, value: String(i) }));
  set.append(...values.map((value, i) => element("label", { for: `${id}-${i}` }, inputs[i], element("span", {}, name(value)))));
  const choice = {
    value: chosen,
    set(value) {
      choice.value = value;
      inputs[values.indexOf(value)].checked = true;
    },
  };
  inputs.forEach((input, i) => {
    input.addEventListener("change", () => {
      choice.value = values[i];
      onChange();
    });
  });
  choice.set(chosen);
  return choice;
}

function pressed(id, action) {
  byId(id).addEventListener("click", action);
}

// A number with so many digits after the point, and a minus sign as long as a plus.
function shown(number, digits = 3) {
  const text = Math.abs(number).toFixed(digits);
  return number < 0 && Number(text) !== 0 ? `−${text}` : text;
}

function counted(number, what) {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
