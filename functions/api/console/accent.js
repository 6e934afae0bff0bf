// The accent color of a portal link. It is made darker or lighter until it can be read, whatever color was chosen.

// A little more than WCAG's 4.5 for text, because colors are rounded.
const READABLE = 4.6;

// The text on a button of the accent color.
const INKS = ["#ffffff", "#10142b"];

const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
const hexadecimal = (rgb) => `#${rgb.map((value) => Math.round(value).toString(16).padStart(2, "0")).join("")}`;
const mixed = (one, other, share) => one.map((value, index) => value + (other[index] - value) * share);

const luminance = (rgb) => {
  const [red, green, blue] = rgb.map((value) => (value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};

const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};

// Returns the colors for an accent on these grounds, the first of which is that of cards.
const readable = (accent, grounds, isDark) => {
  const end = isDark ? [255, 255, 255] : [0, 0, 0];
  for (let step = 0; step <= 50; step += 1) {
    const shade = mixed(channels(accent), end, step / 50);
    const soft = mixed(grounds[0], shade, isDark ? 0.16 : 0.1);
    if ([...grounds, soft].every((ground) => contrast(shade, ground) >= READABLE)) {
      const [ink] = [...INKS].sort((one, other) => contrast(channels(other), shade) - contrast(channels(one), shade));
      return { "--accent": hexadecimal(shade), "--accent-soft": hexadecimal(soft), "--accent-ink": ink };
    }
  }
  return {};
};

// Sets the accent color of the page, or that of the style sheet without one. The policy allows this: it forbids styles
// in the page's text, and this changes its object model.
export const paint = (accent, isDark) => {
  const { style } = document.documentElement;
  for (const name of ["--accent", "--accent-soft", "--accent-ink"]) style.removeProperty(name);
  if (!/^#[0-9a-f]{6}$/i.test(accent ?? "")) return;
  const values = getComputedStyle(document.documentElement);
  const grounds = ["--surface", "--ground", "--raised"].map((name) => channels(values.getPropertyValue(name).trim()));
  for (const [name, value] of Object.entries(readable(accent, grounds, isDark))) style.setProperty(name, value);
};
