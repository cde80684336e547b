// Shows the data-tip of what the pointer is on; a tap works too. Where a drawing has the focus, left and right go from one of its
// values to the next, and Escape hides what is shown.
(function () {
  var tip = document.getElementById("tip");
  var marked = null;
  function hide() {
    tip.style.opacity = 0;
    if (marked) { marked.classList.remove("at"); marked = null; }
  }
  function show(target, x, y) {
    tip.textContent = target.getAttribute("data-tip");
    var box = tip.getBoundingClientRect();
    var left = Math.min(Math.max(8, x + 12), window.innerWidth - box.width - 8);
    var top = y - box.height - 12;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = (top < 8 ? y + 16 : top) + "px";
    tip.style.opacity = 1;
  }
  function point(event) {
    var target = event.target.closest ? event.target.closest("[data-tip]") : null;
    hide();
    if (target) { show(target, event.clientX, event.clientY); }
  }
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("scroll", hide, { passive: true, capture: true });
  document.addEventListener("focusout", hide);
  document.addEventListener("focusin", function (event) {
    var target = event.target;
    if (target.matches("a[data-tip]:focus-visible")) {
      var box = target.getBoundingClientRect();
      show(target, box.right, box.top);
    }
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape") { hide(); return; }
    var step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    var drawing = document.activeElement;
    if (!step || !drawing || !drawing.matches("[tabindex]")) { return; }
    var all = Array.prototype.slice.call(drawing.querySelectorAll("[data-tip]"));
    if (!all.length || drawing.scrollWidth > drawing.clientWidth + 1) { return; }
    event.preventDefault();
    var next = all.indexOf(marked) + step;
    if (!marked) { next = step > 0 ? 0 : all.length - 1; }
    next = all[Math.min(Math.max(next, 0), all.length - 1)];
    hide();
    marked = next;
    marked.classList.add("at");
    var box = marked.getBoundingClientRect();
    show(marked, (box.left + box.right) / 2, box.top);
  });
})();
