// One sound at a time; a click on a picture plays from there.
"use strict";
const sounds = [...document.querySelectorAll("figure.clip audio")];
for (const sound of sounds) {
  const figure = sound.closest("figure");
  const picture = figure.querySelector(".picture");
  const head = figure.querySelector(".playhead");
  const seconds = () => sound.duration || 0;
  sound.addEventListener("play", () => {
    for (const other of sounds) if (other !== sound) other.pause();
    figure.classList.add("playing");
    const follow = () => {
      if (head && seconds()) {
        head.hidden = false;
        head.style.left = `${Math.min(100, (100 * sound.currentTime) / seconds())}%`;
      }
      if (!sound.paused) requestAnimationFrame(follow);
    };
    follow();
  });
  for (const end of ["pause", "ended"]) sound.addEventListener(end, () => figure.classList.remove("playing"));
  if (picture) {
    picture.addEventListener("click", (click) => {
      const box = picture.getBoundingClientRect();
      sound.currentTime = seconds() * Math.max(0, Math.min(1, (click.clientX - box.left) / box.width));
      sound.play();
    });
  }
}
