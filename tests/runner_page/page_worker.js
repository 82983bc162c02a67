/** Runs a scenario of page.js in a dedicated worker. */
import scenarios from './page.js';

onmessage = async ({ data }) => {
  try {
    postMessage({ value: await scenarios(data) });
  } catch (error) {
    postMessage({ error: String(error?.stack ?? error) });
  }
};
