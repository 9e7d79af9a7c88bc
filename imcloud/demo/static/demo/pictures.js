/* Pictures: the thumbnail that goes with the message, and the picture itself, which is in the store. */

const THUMBNAIL = 240; // pixels of its longer side
const QUALITY = 0.7;
const IMAGE_DATA = /^(?:data:image\/(?:jpeg|png|gif|webp);base64,)?([A-Za-z0-9+/]+={0,2})$/;

const $ = (id) => document.getElementById(id);

/** Base64 of a small JPEG of an image file. Rejects for what is no image. */
export async function thumbnail(file) {
  const image = await createImageBitmap(file);
  const scale = Math.min(1, THUMBNAIL / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // JPEG has no transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return canvas.toDataURL("image/jpeg", QUALITY).split(",")[1];
}

/** What of a picture's content may be shown: { thumbnail, url }, each a URL or empty. Others write anything. */
export function shownOf(content) {
  const data = typeof content?.content === "string" && IMAGE_DATA.exec(content.content.replace(/\s/g, ""));
  const given = content?.imageUri;
  const url = typeof given === "string" && URL.canParse(given) ? new URL(given) : null;
  return {
    thumbnail: data ? `data:image/jpeg;base64,${data[1]}` : "",
    url: ["http:", "https:"].includes(url?.protocol) ? url.href : "",
  };
}

/** What is in a picture's bubble: its thumbnail, a button if the picture can be opened. */
export function pictureElement(content, open) {
  const { thumbnail, url } = shownOf(content);
  const shown = thumbnail ? Object.assign(new Image(), { src: thumbnail, alt: "Picture" }) : "Picture";
  if (!url) return shown;
  const button = Object.assign(document.createElement("button"), { type: "button", className: "picture" });
  button.append(shown);
  button.onclick = () => open(url);
  if (thumbnail) button.setAttribute("aria-label", "Open picture");
  return button;
}

/** Shows the picture over the page. `url` is where it was put, `fresh` resolves where it can be had now. */
export async function openPicture(url, fresh) {
  const image = $("viewer-image");
  image.removeAttribute("src");
  $("viewer-state").textContent = "Loading…";
  $("viewer-link").href = url;
  image.onload = () => ($("viewer-state").textContent = "");
  image.onerror = () => ($("viewer-state").textContent = "This picture cannot be shown here.");
  $("viewer").showModal();
  try {
    const now = await fresh(url);
    $("viewer-link").href = now;
    image.src = now;
  } catch {
    image.onerror();
  }
}
