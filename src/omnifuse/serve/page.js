"use strict";
// Builds the form from /schema and shows what /predict answers and what /explain says of it. Everything from outside becomes text, never markup.

const MEDIA = { image: ["image/*", "picture"], audio: ["audio/*,video/*", "sound"], video: ["video/*", "video"] };
const PREVIEWS = { image: "img", audio: "audio", video: "video" };
const LONGEST_CHOICE = 60, MOST_CLASSES = 8;
const SHAPES = { image: "image/png", audio: "audio/wav" };
const $ = (id) => document.getElementById(id);
// Field to { box, read, fill }: read gives the value to send, undefined where there is none
const fields = new Map();
let schema = null, asked = 0;

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

function complain(name, text) {
  const box = fields.get(name)?.box;
  if (!box) return;
  const input = box.querySelector("input, select, textarea");
  box.querySelector(".wrong")?.remove();
  box.classList.toggle("invalid", Boolean(text));
  input.setAttribute("aria-invalid", String(Boolean(text)));
  input.removeAttribute("aria-describedby");
  if (!text) return;
  const line = make("p", "wrong", text);
  line.id = `${input.id}-wrong`;
  input.setAttribute("aria-describedby", line.id);
  box.append(line);
}

// A drop zone that is also a chooser of files, with a preview of what was given
function mediumInput(field, id) {
  const [accept, word] = MEDIA[field.modality];
  const zone = make("div", "drop"), input = make("input");
  let given, address;
  Object.assign(input, { type: "file", accept, id });
  const note = make("small", "", `Drop a ${word} here, or choose a file`);
  zone.append(note, input);

  function show(file) {
    zone.querySelectorAll(".preview").forEach((node) => node.remove());
    if (address) URL.revokeObjectURL(address);
    address = undefined;
    if (!file) return;
    const kind = file.type.split("/")[0];
    if (PREVIEWS[kind]) {
      const preview = make(PREVIEWS[kind], "preview");
      preview.src = address = URL.createObjectURL(file);
      if (kind === "image") preview.alt = `The given ${word}`;
      else preview.controls = true;
      zone.append(preview);
    }
    const remove = make("button", "preview plain", `Remove ${word}`);
    remove.type = "button";
    remove.addEventListener("click", () => { clear(); input.focus(); });
    zone.append(remove);
  }
  function clear() {
    given = undefined;
    input.value = "";
    complain(field.name, "");
    show(null);
  }
  // So that the browser names the file beside its button
  function name(file) {
    const list = new DataTransfer();
    list.items.add(file);
    input.files = list.files;
  }
  async function take(file) {
    complain(field.name, file.size ? "" : "the file is empty");
    given = file.size ? { base64: await base64(file) } : undefined;
    show(file);
  }
  input.addEventListener("change", () => (input.files[0] ? take(input.files[0]) : clear()));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    zone.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) {
        name(event.dataTransfer.files[0]);
        take(event.dataTransfer.files[0]);
      }
    });
  }
  const fill = (value) => {
    if (!value?.base64) return clear();
    given = value;
    const bytes = Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0));
    const file = new File([bytes], "example", { type: SHAPES[field.modality] ?? "" });
    name(file);
    return show(file);
  };
  return { node: zone, read: () => given, fill };
}

function wordInput(field, id, example) {
  const many = (field.values ?? []).length > LONGEST_CHOICE;
  const chosen = field.values?.length && !many;
  const long = field.modality === "text" || field.modality === "series";
  const input = make(chosen ? "select" : long ? "textarea" : "input");
  const parts = make("div");
  input.id = id;
  parts.append(input);
  if (chosen) {
    const empty = make("option", "", "(not known)");
    empty.value = "";
    input.append(empty, ...field.values.map((value) => make("option", "", value)));
  } else if (long) {
    input.rows = 3;
  } else if (field.modality === "number") {
    Object.assign(input, { type: "number", step: "any", inputMode: "decimal" });
  } else if (field.modality === "date") {
    const hasTime = /\d:\d/.test(String(example ?? "00:00"));
    Object.assign(input, { type: hasTime ? "datetime-local" : "date", step: !hasTime ? "1" : /:\d+:(?!00$)\d/.test(String(example)) ? "1" : "60" });
  } else {
    input.type = "text";
    if (many) {
      const list = make("datalist");
      list.id = `${id}-values`;
      list.append(...field.values.map((value) => Object.assign(make("option"), { value })));
      input.setAttribute("list", list.id);
      parts.append(list);
    }
  }
  if (example !== undefined && !chosen) input.placeholder = `such as ${[example].flat().join(", ")}`;
  input.addEventListener("input", () => complain(field.name, input.validity.badInput ? "this is not complete" : ""));
  const read = () => {
    if (input.validity.badInput) throw new Error(field.modality === "number" ? "not a number" : "not a complete date");
    return input.value.trim() === "" ? undefined : input.value;
  };
  const fill = (value) => {
    const text = value === undefined ? "" : [value].flat().join(", ");
    input.value = field.modality === "date" ? text.replace(" ", "T") : text;
  };
  return { node: parts, read, fill };
}

function build() {
  $("fields").replaceChildren();
  $("roles").replaceChildren();
  fields.clear();
  const example = schema.example?.rows?.[0] ?? {};
  const add = (field, home, word) => {
    const id = `field-${field.name}`, box = make("div", "field"), label = make("label", "", `${field.name} `);
    const part = MEDIA[field.modality] ? mediumInput(field, id) : wordInput(field, id, example[field.name]);
    label.append(make("small", "", word));
    label.htmlFor = id;
    if (MEDIA[field.modality] || ["text", "series"].includes(field.modality)) box.classList.add("wide");
    box.append(label, part.node);
    // Inputs of dates show no placeholder
    if (field.modality === "date" && example[field.name]) {
      box.append(make("small", "hint", `such as ${String(example[field.name]).replace(/(:\d+):00$/, "$1")}`));
    }
    $(home).append(box);
    fields.set(field.name, { box, ...part });
  };
  for (const field of schema.fields) add(field, "fields", field.modality);
  for (const name of schema.roles) add({ name, modality: "role" }, "roles", "");
  $("more").hidden = !schema.roles.length;
  const version = schema.version ? `, version ${schema.version}` : "";
  $("model").textContent = `Model ${schema.model_id}${version}`;
}

function clear() {
  asked += 1;
  for (const [name, field] of fields) {
    field.fill(undefined);
    complain(name, "");
  }
  $("answer").replaceChildren(make("p", "quiet", "Fill in what you know and press Answer: any field may stay empty."));
}

async function post(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  const data = await response.json();
  if (!response.ok) throw new Error(data.error);
  return data;
}

const percent = (share) => `${(share * 100).toFixed(0)}%`;

function bar(share, className = "") {
  const track = make("div", `bar ${className}`), filled = make("div");
  filled.style.width = percent(Math.min(Math.max(share, 0), 1));
  track.setAttribute("aria-hidden", "true");
  track.append(filled);
  return track;
}

function bars(title, lines) {
  const named = lines.some(([name]) => name);
  const part = make("div"), table = make("div", named ? "bars" : "bars alone");
  for (const [name, share, words, className] of lines) {
    if (named) table.append(make("div", "name", name));
    table.append(bar(share, className), make("div", "number", words));
  }
  part.append(make("h3", "", title), table);
  return part;
}

function words(answer) {
  const value = Array.isArray(answer.value) ? answer.value.join(", ") || "(none)" : answer.value;
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
}

function targetPart(target, answer, explained) {
  const part = make("div", "target");
  part.append(make("h2", "", target), make("p", "value", answer.value === null ? "no answer" : words(answer)));
  if (answer.abstained) part.append(make("p", "wrong", "The model is too unsure to answer."));
  if (answer.low !== undefined) part.append(make("p", "quiet", `between ${answer.low} and ${answer.high}`));
  if (answer.confidence !== null && answer.confidence !== undefined) {
    part.append(bars("Confidence", [["", answer.confidence, percent(answer.confidence), "high"]]));
  }
  if (answer.probabilities) {
    const others = Object.entries(answer.probabilities).filter(([name]) => name !== answer.value);
    const shown = others.sort((one, other) => other[1] - one[1]).slice(0, MOST_CLASSES);
    const title = Array.isArray(answer.value) ? "All tags" : "Other classes";
    if (shown.length) part.append(bars(title, shown.map(([name, share]) => [name, share, percent(share)])));
  }
  if (explained?.shares.length) {
    part.append(bars(`What carried "${words({ value: explained.answer })}"`, explained.shares.map((one) => {
      const against = one.effect < 0;
      return [one.field, one.share, `${percent(one.share)} ${against ? "against" : "for"}`, against ? "against" : ""];
    })));
  }
  return part;
}

function show(whole, explained) {
  const home = $("answer");
  home.replaceChildren();
  if (whole.error) home.append(make("p", "wrong", whole.error));
  for (const [target, answer] of Object.entries(whole.targets)) {
    home.append(targetPart(target, answer, explained.find((one) => one.target === target)));
  }
  const warnings = [];
  for (const warning of whole.warnings ?? []) {
    const [name, rest] = [warning.split(": ")[0], warning.slice(warning.indexOf(": ") + 2)];
    if (fields.has(name)) complain(name, rest);
    warnings.push(make("li", "wrong", warning));
  }
  if (warnings.length) {
    const list = make("ul");
    list.append(...warnings);
    home.append(make("h3", "", "What could not be read"), list);
  }
  const used = whole.modalities_used?.length ? `Read: ${whole.modalities_used.join(", ")}. ` : "";
  home.append(make("p", "quiet", `${used}Model ${whole.model_id}${whole.version ? `, version ${whole.version}` : ""}.`));
}

function readRow() {
  const row = {};
  let first = null;
  for (const [name, field] of fields) {
    try {
      const value = field.read();
      complain(name, "");
      if (value !== undefined) row[name] = value;
    } catch (error) {
      complain(name, error.message);
      first ??= field.box.querySelector("input, select, textarea");
    }
  }
  first?.focus();
  return first ? null : row;
}

async function answer(event) {
  event.preventDefault();
  const row = readRow(), home = $("answer"), turn = (asked += 1);
  if (!row) return;
  if (!Object.keys(row).length) {
    home.replaceChildren(make("p", "quiet", "Fill in at least one field."));
    return;
  }
  home.replaceChildren(make("p", "quiet", "Answering ..."));
  home.setAttribute("aria-busy", "true");
  try {
    const [whole] = (await post("/predict", { rows: [row], proba: true })).predictions;
    if (turn !== asked) return;
    show(whole, []);
    home.scrollIntoView({ block: "nearest" });
    if (whole.error) return;
    // Nothing is shown of it where the server is too busy
    const found = await post("/explain", { rows: [row], parts: false }).catch(() => null);
    if (turn === asked && found) show(whole, found.explanations[0].answers ?? []);
  } catch (error) {
    if (turn === asked) home.replaceChildren(make("p", "wrong", error.message));
  } finally {
    if (turn === asked) home.removeAttribute("aria-busy");
  }
}

async function start() {
  try {
    const response = await fetch("/schema");
    schema = await response.json();
    if (!response.ok) throw new Error(schema.error);
    build();
  } catch (error) {
    $("answer").replaceChildren(make("p", "wrong", error.message));
  }
}

$("form").addEventListener("submit", answer);
$("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
$("clear").addEventListener("click", clear);
$("example").addEventListener("click", () => {
  clear();
  const row = schema?.example?.rows?.[0] ?? {};
  for (const [name, field] of fields) field.fill(row[name]);
});
// A file that misses its field must not leave the page
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
start();
