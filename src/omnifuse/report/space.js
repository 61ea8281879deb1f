(function () {
  var svg = document.getElementById("map"), tip = document.getElementById("tip");
  var box = [0, 0, 800, 600], from = null;
  function show() { svg.setAttribute("viewBox", box.join(" ")); svg.style.setProperty("--r", Math.max(0.8, 4 * Math.sqrt(box[2] / 800)) * Math.sqrt(box[2] / 800) + "px"); }
  function zoom(factor, x, y) {
    var width = Math.min(800, Math.max(8, box[2] * factor)), real = width / box[2];
    box = [x - (x - box[0]) * real, y - (y - box[1]) * real, width, box[3] * real]; show();
  }
  function place(event) {
    var area = svg.getBoundingClientRect();
    return [box[0] + (event.clientX - area.left) / area.width * box[2], box[1] + (event.clientY - area.top) / area.height * box[3]];
  }
  svg.addEventListener("wheel", function (event) { event.preventDefault(); var at = place(event); zoom(event.deltaY > 0 ? 1.25 : 0.8, at[0], at[1]); }, { passive: false });
  svg.addEventListener("pointerdown", function (event) { from = place(event); svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointerup", function () { from = null; });
  svg.addEventListener("pointermove", function (event) {
    if (!from) { return; }
    var at = place(event); box[0] += from[0] - at[0]; box[1] += from[1] - at[1]; show();
  });
  svg.addEventListener("dblclick", function () { box = [0, 0, 800, 600]; show(); });
  svg.addEventListener("mouseover", function (event) {
    var point = event.target.closest("circle");
    if (!point || from) { return; }
    var item = document.getElementById("item-" + point.getAttribute("data-item"));
    tip.textContent = "";
    var head = document.createElement("b");
    head.textContent = point.getAttribute("data-field") + " of " + (item ? item.getAttribute("data-id") : "");
    tip.appendChild(head);
    if (item) { tip.appendChild(item.content.cloneNode(true)); }
  });
  ["modality", "label"].forEach(function (name) {
    var button = document.getElementById("by-" + name);
    if (button) { button.addEventListener("click", function () {
      document.body.className = "by-" + name;
    }); }
  });
  show();
})();
