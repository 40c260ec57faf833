/** The login: it stands alone, as everything else is behind it. */

const at = (id) => document.getElementById(id);

/** Who is logged in already (a link from elsewhere brings no cookie along) goes on at once. */
async function goOnWhereLoggedIn() {
  const answer = await fetch("api/page").catch(() => null);
  if (answer?.ok) location.replace(".");
}

at("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("enter").disabled = true;
  at("said").textContent = "";
  try {
    const body = JSON.stringify({ password: at("password").value });
    const answer = await fetch("login", { method: "POST", headers: { "content-type": "application/json" }, body });
    if (answer.ok) {
      location.replace(".");
      return;
    }
    at("said").textContent = (await answer.json()).error;
  } catch (error) {
    at("said").textContent = `The dashboard does not answer (${error.message}).`;
  }
  at("enter").disabled = false;
  at("password").select();
});

goOnWhereLoggedIn();
