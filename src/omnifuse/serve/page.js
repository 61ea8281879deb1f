"use strict";
// Builds the form from /schema and shows what /predict answers and what /explain says of it. Everything from outside becomes text, never markup.

const MEDIA = { image: "image/*", audio: "audio/*,video/*", video: "video/*" };
const given = new Map();
let schema = null;

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

async function take(field, file, box) {
  const content = await base64(file);
  given.set(field.name, content ? { base64: content } : "");
  box.querySelector(".preview")?.remove();
  const kind = file.type.split("/")[0];
  if (!["image", "audio", "video"].includes(kind)) return;
  const preview = make(kind === "image" ? "img" : kind, "preview");
  preview.src = URL.createObjectURL(file);
  if (kind === "image") preview.alt = "";
  else preview.controls = true;
  box.append(preview);
}

function mediaField(field, box) {
  const input = make("input");
  input.type = "file";
  input.accept = MEDIA[field.modality];
  input.id = `field-${field.name}`;
  input.addEventListener("change", () => input.files[0] && take(field, input.files[0], box));
  for (const name of ["dragover", "dragleave", "drop"]) {
    box.addEventListener(name, (event) => {
      event.preventDefault();
      box.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0]) take(field, event.dataTransfer.files[0], box);
    });
  }
  return input;
}

function wordField(field) {
  const input = make(field.modality === "text" || field.modality === "series" ? "textarea" : "input");
  if (input.tagName === "INPUT") input.type = "text";
  else input.rows = 3;
  input.id = `field-${field.name}`;
  input.addEventListener("input", () => given.set(field.name, input.value));
  return input;
}

function build() {
  const home = document.getElementById("fields");
  home.replaceChildren();
  given.clear();
  const roles = schema.roles.map((name) => ({ name, modality: "who or when" }));
  for (const field of [...schema.fields, ...roles]) {
    const box = make("div", "field");
    const label = make("label", "", `${field.name} `);
    label.append(make("small", "", MEDIA[field.modality] ? `${field.modality}: drop a file here` : field.modality));
    label.htmlFor = `field-${field.name}`;
    box.append(label, MEDIA[field.modality] ? mediaField(field, box) : wordField(field));
    home.append(box);
  }
  document.getElementById("model").textContent = `Model ${schema.model_id}. A field may stay empty.`;
}

async function ask(rows) {
  const response = await fetch("/predict", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ rows, proba: true }),
  });
  const data = await response.json();
  if (!response.ok) throw new Error(data.error);
  return data.predictions;
}

// What carried the answers to a row, without a look inside of its fields; nothing where the server is too busy for it
async function carried(row) {
  const response = await fetch("/explain", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ rows: [row], parts: false }),
  });
  return response.ok ? (await response.json()).explanations[0].answers ?? [] : [];
}

function shareBars(answer) {
  const title = `What carried "${answer.answer}": share of each field, for or against it`;
  return bars(title, answer.shares.map((one) => [one.field, one.share, one.effect < 0 ? "against" : "for"]));
}

function bars(title, pairs) {
  const table = make("table");
  for (const [name, share, word] of pairs) {
    const line = make("tr");
    const meter = make("meter");
    meter.value = share;
    const bar = make("td");
    bar.append(meter);
    line.append(make("td", "", name), bar, make("td", "number", `${(share * 100).toFixed(0)}%${word ? ` ${word}` : ""}`));
    table.append(line);
  }
  const part = make("div");
  part.append(make("p", "quiet", title), table);
  return part;
}

function show(whole, explained) {
  const home = document.getElementById("answer");
  home.replaceChildren();
  if (whole.error) home.append(make("p", "wrong", whole.error));
  for (const [target, answer] of Object.entries(whole.targets)) {
    if (answer.value === null) continue;
    home.append(make("h2", "", target));
    const value = Array.isArray(answer.value) ? answer.value.join(", ") || "(none)" : String(answer.value);
    home.append(make("p", "value", value));
    const words = [];
    if (answer.confidence !== null) words.push(`confidence ${(answer.confidence * 100).toFixed(0)}%`);
    if (answer.low !== undefined) words.push(`${answer.low} to ${answer.high}`);
    if (answer.abstained) words.push("too unsure to answer");
    home.append(make("p", "", words.join(", ")));
    if (answer.probabilities) {
      const found = Object.entries(answer.probabilities).sort((one, other) => other[1] - one[1]);
      home.append(bars("Probabilities", found.slice(0, 8)));
    }
    for (const one of explained) if (one.target === target && one.shares.length) home.append(shareBars(one));
  }
  if (whole.modalities_used?.length) home.append(make("p", "quiet", `Read: ${whole.modalities_used.join(", ")}`));
  for (const warning of whole.warnings ?? []) home.append(make("p", "wrong", warning));
}

async function answer(event) {
  event.preventDefault();
  const home = document.getElementById("answer");
  home.replaceChildren(make("p", "quiet", "Answering ..."));
  try {
    const row = Object.fromEntries([...given].filter(([, value]) => value !== ""));
    const [whole] = await ask([row]);
    show(whole, []);
    if (!whole.error) show(whole, await carried(row));
  } catch (error) {
    home.replaceChildren(make("p", "wrong", error.message));
  }
}

async function start() {
  try {
    const response = await fetch("/schema");
    schema = await response.json();
    if (!response.ok) throw new Error(schema.error);
    build();
  } catch (error) {
    document.getElementById("answer").replaceChildren(make("p", "wrong", error.message));
  }
}

document.getElementById("form").addEventListener("submit", answer);
document.getElementById("clear").addEventListener("click", build);
start();
