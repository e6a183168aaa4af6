// What one pipeline does to another's hits.

/** For lists of ids: how each of `after` stands to `before`, and which of `before` are gone. */
export function moves(before, after) {
  const places = new Map(before.map((id, place) => [id, place]));
  const kept = new Set(after);
  const moved = new Map();
  after.forEach((id, place) => {
    const was = places.get(id);
    moved.set(id, was === undefined ? { kind: "new", by: 0 } : step(was - place));
  });
  return { moved, gone: before.filter((id) => !kept.has(id)) };
}

function step(by) {
  if (by === 0) return { kind: "same", by };
  return by > 0 ? { kind: "up", by } : { kind: "down", by: -by };
}

/** [what is shown, what is said] of a move. */
export function wording({ kind, by }) {
  return {
    new: ["new", "new, not among the other pipeline's hits"],
    gone: ["gone", "gone, not among the other pipeline's hits"],
    up: [`▲ ${by}`, `up ${by}`],
    down: [`▼ ${by}`, `down ${by}`],
    same: ["=", "same rank"],
  }[kind];
}
