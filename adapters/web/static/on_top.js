/** Keeps an element in front of every dialog. */

import { useLayoutEffect, useRef } from "./preact.js";

/** Return a ref for an element with `popover="manual"`: it is shown in front of all others each time that `value` changes. */
export function useOnTop(value) {
  const box = useRef();
  useLayoutEffect(() => {
    if (!box.current) return;
    // A dialog that was opened later is in front: hiding and showing changes the order.
    if (box.current.matches(":popover-open")) box.current.hidePopover();
    box.current.showPopover();
  }, [value]);
  return box;
}
