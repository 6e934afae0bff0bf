// JSON without loss: a number that JavaScript cannot hold keeps its digits, and is written back with them.

class Digits {
  constructor(source) {
    this.source = source;
  }

  toString() {
    return this.source;
  }

  toJSON() {
    return JSON.rawJSON ? JSON.rawJSON(this.source) : Number(this.source);
  }
}

export const parseJson = (text) =>
  JSON.parse(text, (_, value, context) =>
    typeof value === "number" && context?.source && !isHeld(value, context.source) ? new Digits(context.source) : value,
  );

// Whether JavaScript writes a number with the digits that it was read from.
const isHeld = (value, source) => String(value) === source;

export const writeJson = (value, indent) => JSON.stringify(value, null, indent);

// Returns a text as indented JSON, or as it is.
export const pretty = (text) => {
  try {
    return writeJson(parseJson(text), 2);
  } catch {
    return text;
  }
};

// Returns the paths at which two values differ, with both values as text.
export const differences = (before, after, path = "") => {
  const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Digits);
  if (isMap(before) && isMap(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return names.flatMap((name) => differences(before[name], after[name], path ? `${path}.${name}` : name));
  }
  const [old, now] = [before, after].map((value) => (value === undefined ? undefined : writeJson(value)));
  return old === now ? [] : [{ path, old, now }];
};
