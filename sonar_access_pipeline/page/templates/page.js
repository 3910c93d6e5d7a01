"use strict";
(function () {
  var off = document.getElementById("keys-off");
  var kept = function () { try { return localStorage.getItem("keys") === "off"; } catch (error) { return false; } };
  if (off) {
    off.closest(".keys").hidden = false;
    off.checked = kept();
    off.addEventListener("change", function () { try { localStorage.setItem("keys", off.checked ? "off" : "on"); } catch (error) { } });
  }
  var go = function (name) { var link = document.querySelector('[data-key="' + name + '"]'); if (link) { link.click(); return true; } return false; };
  var choose = function (value) { var box = document.querySelector('input[name=choice][value="' + value + '"]'); if (box) { box.checked = true; box.focus(); return true; } return false; };
  var into = function (id) { var field = document.getElementById(id); if (field) { field.focus(); return true; } return false; };
  var help = function () { var part = document.getElementById("help"); if (part) { part.open = !part.open; part.querySelector("summary").focus(); return true; } return false; };
  var keys = {
    j: function () { return go("next"); }, k: function () { return go("previous"); }, u: function () { return go("up"); },
    "1": function () { return choose("keep"); }, "2": function () { return choose("change"); }, "3": function () { return choose("revoke"); },
    r: function () { return into("reason"); }, "/": function () { return into("q"); }, "?": help
  };
  document.addEventListener("keydown", function (event) {
    var field = event.target;
    var types = /^(INPUT|TEXTAREA|SELECT)$/.test(field.tagName) && !/^(radio|checkbox|submit|button)$/.test(field.type);
    if (types || event.ctrlKey || event.metaKey || event.altKey || (off && off.checked)) { return; }
    if (keys[event.key] && keys[event.key]()) { event.preventDefault(); }
  });
}());
