/** Pictures that are pasted, or dropped anywhere on the page: one that misses its field must not be opened in the page's place. */

/**
 * Listen for them.
 * @param {HTMLElement} form is marked while files are dragged over the page
 * @param {(files: FileList, target: Element) => void} onFiles files were pasted or dropped, over this element
 */
export function listen(form, onFiles) {
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length) return; // words belong to the field that they are pasted into
    event.preventDefault();
    onFiles(event.clipboardData.files, event.target);
  });
  let inside = 0;
  const files = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (by) => {
    inside = by === 0 ? 0 : inside + by;
    form.classList.toggle("dropping", inside > 0);
  };
  document.addEventListener("dragenter", (event) => files(event) && mark(1));
  document.addEventListener("dragleave", (event) => files(event) && mark(-1));
  document.addEventListener("dragover", (event) => files(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    mark(0);
    onFiles(event.dataTransfer.files, event.target);
  });
}
