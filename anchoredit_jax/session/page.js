() => {
  // After an action, once its pictures are drawn.
  window.afterAction = () => {
    // Gradio makes a button of a picture and gives it no name to be read out.
    for (const name of ["source", "result", "difference"])
      for (const button of document.querySelectorAll(`#${name} button:has(img)`))
        button.ariaLabel = `${name} picture`;
    // The current turn to the middle of its row. Not scrollIntoView, which scrolls the
    // page as well.
    const turn = document.querySelector("#strip .thumbnail-item.selected");
    const row = turn?.closest(".grid-wrap");
    if (!row) return;
    const [one, all] = [turn, row].map((part) => part.getBoundingClientRect());
    row.scrollBy({ left: one.left + one.width / 2 - all.left - all.width / 2 });
  };
  window.addEventListener("resize", window.afterAction);

  // Ctrl-Z goes back a turn, unless there is text in a field to take back.
  document.addEventListener("keydown", (event) => {
    const held = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey;
    const field = event.target.closest?.("input, textarea");
    if (event.key !== "z" || !held || field?.value) return;
    event.preventDefault();
    document.querySelector("#undo").click();
  });
};
