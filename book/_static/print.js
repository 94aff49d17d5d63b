// Paper is white: a page in dark colors is printed in light ones.
// The theme's own rules for print make headings black, which on its dark ground cannot be read.

const page = document.documentElement;
let screenTheme;

addEventListener("beforeprint", () => {
  screenTheme = page.dataset.theme;
  page.dataset.theme = "light";
});
addEventListener("afterprint", () => {
  page.dataset.theme = screenTheme;
});
