// What the browser keeps of the console. In a frame of another site it may forbid that; memory does for a visit.

const memory = new Map();

const store = (kind) => {
  const key = (name) => `${kind} ${name}`;
  // Reading the property already fails where storage is blocked.
  const attempt = (action) => {
    try {
      return action(window[kind]);
    } catch {
      return undefined;
    }
  };
  return {
    get: (name) => memory.get(key(name)) ?? attempt((storage) => storage.getItem(name)) ?? null,
    set: (name, value) => {
      const isKept = attempt((storage) => (storage.setItem(name, value), true));
      if (isKept) memory.delete(key(name));
      else memory.set(key(name), value);
    },
    remove: (name) => {
      memory.delete(key(name));
      attempt((storage) => storage.removeItem(name));
    },
  };
};

// For as long as the tab is open, and for longer.
export const tab = store("sessionStorage");
export const device = store("localStorage");
