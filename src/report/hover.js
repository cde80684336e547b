// Shows the data-tip of what the pointer is on; a tap works too.
(function () {
  var tip = document.getElementById("tip");
  function show(event) {
    var target = event.target.closest ? event.target.closest("[data-tip]") : null;
    if (!target) { tip.style.opacity = 0; return; }
    tip.textContent = target.getAttribute("data-tip");
    var box = tip.getBoundingClientRect();
    var left = Math.min(Math.max(8, event.clientX + 12), window.innerWidth - box.width - 8);
    var top = event.clientY - box.height - 12;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = (top < 8 ? event.clientY + 16 : top) + "px";
    tip.style.opacity = 1;
  }
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", function () { tip.style.opacity = 0; }, { passive: true });
})();
