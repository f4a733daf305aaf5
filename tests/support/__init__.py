"""Parts that tests share: tiny artifacts, pools and services, real servers, scripted peers."""
