//! The harness itself: problems of a page are found.

use anyhow::Result;

use crate::harness::{Browser, Options};
use crate::server::Server;

const BAD: &str = "<!doctype html><html lang=en><title>Bad</title><style>p { color: red }</style><main>\
    <h1>Bad</h1><p style='color: #eee'>Pale</p><img src='http://127.0.0.2:9/x.png'><img src='/missing.png' alt=''>\
    <button></button><script>alert(1)</script><script src='/bad.js'></script></main>";
const BAD_SCRIPT: &str = "console.error('reported', 7); setTimeout(() => { throw new Error('thrown'); });";
const GOOD: &str = "<!doctype html><html lang=en><title>Good</title><link rel=icon href='data:,'><main><h1>Good</h1><p>Text</p>\
    <p><a href='/next'>Next page</a></p><input aria-label=Search></main>";

async fn server() -> Result<Server> {
    let html = "text/html; charset=utf-8";
    let next = GOOD.replace("<h1>Good", "<h1 id=next>Next");
    let script = "text/javascript";
    Server::start(vec![
        ("/bad", html, BAD.to_owned()),
        ("/bad.js", script, BAD_SCRIPT.to_owned()),
        ("/good", html, GOOD.to_owned()),
        ("/next", html, next),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_of_a_page_fail_its_test() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let server = server().await?;
    for javascript in [true, false] {
        let options = Options { javascript, ..Options::default() };
        let result = browser
            .page(options, async |page| {
                page.goto(&server.url("/bad")).await?;
                let errors = page.console_errors().await.join("\n");
                assert!(errors.contains("/missing.png"), "{errors}");
                assert_eq!(errors.contains("\"reported\" 7"), javascript, "{errors}");
                assert_eq!(errors.contains("Error: thrown"), javascript, "{errors}");
                let policy = page.policy_violations().await.join("\n");
                for directive in ["style-src", "img-src"] {
                    assert!(policy.contains(directive), "{policy}");
                }
                assert_eq!(policy.contains("script-src"), javascript, "{policy}");
                let requests = page.requests().await;
                assert!(requests.contains(&format!("GET {}", server.url("/missing.png"))), "{requests:?}");
                if javascript {
                    let rules: Vec<_> = page.violations().await?.into_iter().filter(|one| one.is_grave()).collect();
                    // Without axe-core, there is nothing to find.
                    for rule in ["image-alt", "button-name"].into_iter().filter(|_| !rules.is_empty()) {
                        assert!(rules.iter().any(|one| one.rule == rule), "{rules:?}");
                    }
                }
                Ok(())
            })
            .await;
        let message = format!("{:#}", result.unwrap_err());
        assert!(message.contains("the browser reported") && message.contains("img-src"), "{message}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_page_reach_the_browser() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let server = server().await?;
    for (dark, reduced_motion, javascript, zoom) in
        [(false, true, true, 1.0), (true, false, true, 2.0), (true, true, false, 1.0)]
    {
        let options = Options { dark, reduced_motion, javascript, zoom, width: 1000 };
        browser
            .page(options, async |page| {
                page.goto(&server.url("/good")).await?;
                let matches =
                    async |query: &str| page.evaluate::<bool>(&format!("matchMedia('{query}').matches")).await;
                assert_eq!(matches("(prefers-color-scheme: dark)").await?, dark);
                assert_eq!(matches("(prefers-reduced-motion: reduce)").await?, reduced_motion);
                assert_eq!(matches("(scripting: none)").await?, !javascript);
                assert_eq!(page.evaluate::<f64>("innerWidth").await?, 1000.0 / zoom);
                assert_eq!(page.text("h1").await?, "Good");
                assert_eq!(page.count("p").await?, 2);
                page.click_text("Next page").await?;
                page.wait_for("#next").await?;
                assert_eq!(page.url().await?, server.url("/next"));
                page.click("input").await?;
                page.insert("backup").await?;
                page.press("s").await?;
                assert_eq!(page.evaluate::<String>("document.querySelector('input').value").await?, "backups");
                let missing = page.click("#nothing").await.unwrap_err();
                assert!(format!("{missing:#}").contains("no such element"), "{missing:#}");
                assert!(page.screenshot("options").await?.is_file());
                assert_eq!(page.evaluate::<f64>("innerWidth").await?, 1000.0 / zoom, "after the screenshot");
                Ok(())
            })
            .await?;
    }
    Ok(())
}
