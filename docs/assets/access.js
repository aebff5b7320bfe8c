/* What the theme leaves out for people without a mouse or a screen: a name for the search, boxes that scroll by key. */
function accessible() {
  document.querySelector(".md-search[role=dialog]")?.setAttribute("aria-label", "Search");
  for (const box of document.querySelectorAll("pre > code, .md-typeset__scrollwrap, .arithmatex")) box.tabIndex = 0;
}
document$.subscribe(() => setTimeout(accessible));
